//! Which processes hold a socket open: their descriptors, as /proc lists them.
//!
//! It is a look, not a snapshot. A descriptor that is on its way between two processes (SCM_RIGHTS) is nowhere, and one
//! that moves while others are looked at can be missed; `hold_of` closes that gap for exec.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::Errno;

use crate::proc_text::{all_users, closed_on_exec};
use crate::process::is_gone;
use crate::{HostError, Process};

/// Who holds sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Socket and process.
    pub held: Vec<(u32, i32)>,
    /// Processes whose descriptors this program may not read.
    pub unreadable: Vec<i32>,
}

/// How a process holds a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Nothing,
    /// All its descriptors of it are closed on exec. So they came to be after the last one: another program that ran in
    /// this process before did not leave them.
    UntilExec,
    /// A program that ran in this process before may have opened it.
    AcrossExec,
}

/// All processes of `users` that hold one of these sockets. Another user has such a socket only if a process of these gave it
/// away, and what another user's processes have open may not cost anything here. Reads the descriptors of every process
/// of `users`: not for async threads.
pub fn socket_holders(wanted: &BTreeSet<u32>, users: &BTreeSet<u32>) -> Result<Holders, HostError> {
    let error = |e: Errno| HostError::Sockets(e.into());
    let proc = folder(CWD, c"/proc").map_err(error)?;
    let mut found = Holders::default();
    each(&proc, |name| {
        let Some(pid) = number(name) else { return Ok(()) };
        if !is_of(&proc, name, pid, users) {
            return Ok(());
        }
        let mut path = [0u8; 24];
        let descriptors = match below(name, &mut path).map(|path| folder(&proc, path)) {
            Some(Ok(folder)) => folder,
            Some(Err(Errno::ACCESS | Errno::PERM)) => {
                found.unreadable.push(pid);
                return Ok(());
            }
            Some(Err(Errno::NOENT | Errno::SRCH)) => return Ok(()),
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        };
        let (held, unreadable) = (&mut found.held, &mut found.unreadable);
        let looked = each(&descriptors, |descriptor| {
            let socket = socket_behind(&descriptors, descriptor)?;
            held.extend(socket.filter(|socket| wanted.contains(socket)).map(|socket| (socket, pid)));
            Ok(())
        });
        match looked {
            // It ended meanwhile.
            Ok(()) | Err(Errno::NOENT | Errno::SRCH) => Ok(()),
            Err(Errno::ACCESS | Errno::PERM) => {
                unreadable.push(pid);
                Ok(())
            }
            Err(error) => Err(error),
        }
    })
    .map_err(error)?;
    found.held.dedup();
    Ok(found)
}

/// Whether a process is of one of these users. Its owner in /proc is another one if it closed itself to others, or runs in a
/// user namespace; its status names all its users.
fn is_of(proc: &OwnedFd, name: &CStr, pid: i32, users: &BTreeSet<u32>) -> bool {
    match rustix::fs::statat(proc, name, rustix::fs::AtFlags::empty()) {
        Ok(found) if users.contains(&found.st_uid) => true,
        Ok(_) => {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let all = all_users(&status);
            all.is_empty() || all.iter().any(|uid| users.contains(uid))
        }
        // It has ended.
        Err(_) => false,
    }
}

/// How `process` itself holds the socket.
pub fn hold_of(process: &Process, socket: u32) -> Result<Hold, HostError> {
    let pid = process.pid();
    let error = |source: std::io::Error| HostError::Proc { pid, what: "fd", source };
    let descriptors = folder(CWD, format!("/proc/{pid}/fd").as_str()).map_err(|e| error(e.into()))?;
    let mut numbers = vec![];
    each(&descriptors, |descriptor| {
        if socket_behind(&descriptors, descriptor)? == Some(socket) {
            numbers.extend(number(descriptor));
        }
        Ok(())
    })
    .map_err(|e| error(e.into()))?;
    let mut hold = if numbers.is_empty() { Hold::Nothing } else { Hold::UntilExec };
    for number in numbers {
        match std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")) {
            Ok(text) if closed_on_exec(&text) == Some(true) => {}
            Ok(_) => hold = Hold::AcrossExec,
            Err(gone) if is_gone(&gone) => {}
            Err(other) => return Err(error(other)),
        }
    }
    process.check_alive()?;
    Ok(hold)
}

fn folder(at: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Reads a folder without allocating for each name.
fn each(folder: &OwnedFd, mut look: impl FnMut(&CStr) -> Result<(), Errno>) -> Result<(), Errno> {
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 8192];
    let mut names = RawDir::new(folder, &mut buffer);
    while let Some(name) = names.next() {
        look(name?.file_name())?;
    }
    Ok(())
}

/// `<pid>/fd`
fn below<'a>(pid: &CStr, buffer: &'a mut [u8; 24]) -> Option<&'a CStr> {
    let length = pid.to_bytes().len();
    buffer.get_mut(..length)?.copy_from_slice(pid.to_bytes());
    buffer.get_mut(length..length + 4)?.copy_from_slice(b"/fd\0");
    CStr::from_bytes_until_nul(buffer).ok()
}

fn number(name: &CStr) -> Option<i32> {
    std::str::from_utf8(name.to_bytes()).ok()?.parse().ok()
}

/// The inode of the socket behind a descriptor: its link is `socket:[inode]`. Fails if the link may not be read; the folder
/// of another's descriptors opens for root even where the links do not.
fn socket_behind(descriptors: &OwnedFd, descriptor: &CStr) -> Result<Option<u32>, Errno> {
    // Only a socket's link has its form and is so short.
    let mut buffer = [MaybeUninit::<u8>::uninit(); 32];
    let link = match readlinkat_raw(descriptors, descriptor, &mut buffer) {
        Ok((link, _)) => link,
        Err(error @ (Errno::ACCESS | Errno::PERM)) => return Err(error),
        // Closed meanwhile; or `..`.
        Err(_) => return Ok(None),
    };
    let inode = link.strip_prefix(b"socket:[").and_then(|rest| rest.strip_suffix(b"]"));
    Ok(inode.and_then(|inode| std::str::from_utf8(inode).ok()?.parse().ok()))
}
