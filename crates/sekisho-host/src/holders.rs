//! Which processes hold a socket open: their descriptors, as /proc lists them.
//!
//! It is a search, not a snapshot. A descriptor in flight between two processes (SCM_RIGHTS) is in no table, and one
//! that moves during the search can be missed; `hold_of` closes that gap for exec.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, statat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::descriptors::{each, folder, number, socket_behind, tables};
use crate::kernel_calls::{share_descriptors, users_behind};
use crate::proc_text::{all_users, closed_on_exec};
use crate::process::is_gone;
use crate::{HostError, Process};

/// The limit of one search, in descriptors: about a second's work. A user with more open descriptors gets no answer.
const MAX_READ: u32 = 1_000_000;
/// What opening a table costs, in descriptors.
const TABLE: u32 = 8;
/// A table of so many descriptors is not read again for a process that shares it.
const LARGE: u32 = 512;

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

/// All processes of `users` that hold one of these sockets, in any of their threads. Another user has such a socket
/// only if a process of these gave it away, and what another user's processes have open may not cost anything here.
/// Reads the descriptors of every process of `users`: not for async threads.
pub fn socket_holders(wanted: &BTreeSet<u32>, users: &BTreeSet<u32>) -> Result<Holders, HostError> {
    holders_within(MAX_READ, wanted, users)
}

/// The same with another bound on what is read.
pub(crate) fn holders_within(left: u32, wanted: &BTreeSet<u32>, users: &BTreeSet<u32>) -> Result<Holders, HostError> {
    let error = |e: Errno| match e {
        Errno::TOOBIG => HostError::ManyDescriptors,
        other => HostError::Sockets(other.into()),
    };
    let proc = folder(CWD, c"/proc").map_err(error)?;
    let mut look = HolderSearch { wanted, left, large: vec![], found: Holders::default() };
    each(&proc, |name| match number(name) {
        Some(pid) if is_of(&proc, name, pid, users) => look.process(&proc, pid),
        _ => Ok(()),
    })
    .map_err(error)?;
    Ok(look.found)
}

struct HolderSearch<'a> {
    wanted: &'a BTreeSet<u32>,
    /// What may still be read.
    left: u32,
    /// Threads whose table was large.
    large: Vec<i32>,
    found: Holders,
}

impl HolderSearch<'_> {
    fn process(&mut self, proc: &OwnedFd, pid: i32) -> Result<(), Errno> {
        let held_before = self.found.held.len();
        let read = tables(proc, pid, |thread, open| {
            if self.large.iter().any(|large| share_descriptors(*large, thread).unwrap_or(false)) {
                // What it holds is its companion's, which is found.
                return Ok(());
            }
            self.spend(TABLE)?;
            let before = self.left;
            let descriptors = open()?;
            each(&descriptors, |descriptor| {
                self.spend(1)?;
                let socket = socket_behind(&descriptors, descriptor)?;
                let wanted = socket.filter(|socket| self.wanted.contains(socket));
                self.found.held.extend(wanted.map(|socket| (socket, pid)));
                Ok(())
            })?;
            if before - self.left > LARGE {
                self.large.push(thread);
            }
            Ok(())
        });
        // Several descriptors of one socket, or several tables.
        let mut held = self.found.held.split_off(held_before);
        held.sort_unstable();
        held.dedup();
        self.found.held.append(&mut held);
        match read {
            // It stopped meanwhile.
            Ok(()) | Err(Errno::NOENT | Errno::SRCH) => Ok(()),
            Err(Errno::ACCESS | Errno::PERM) => {
                self.found.unreadable.push(pid);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn spend(&mut self, cost: u32) -> Result<(), Errno> {
        self.left = self.left.checked_sub(cost).ok_or(Errno::TOOBIG)?;
        Ok(())
    }
}

/// Whether a process is of one of these users. Its owner in /proc is its effective user; the kernel knows all of them.
fn is_of(proc: &OwnedFd, name: &CStr, pid: i32, users: &BTreeSet<u32>) -> bool {
    match statat(proc, name, AtFlags::empty()) {
        Ok(found) if users.contains(&found.st_uid) => true,
        Ok(_) => {
            let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            let all = pidfd.and_then(|pidfd| users_behind(&pidfd).ok()).map(Vec::from).unwrap_or_else(|| {
                all_users(&std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
            });
            all.is_empty() || all.iter().any(|uid| users.contains(uid))
        }
        // It has stopped.
        Err(_) => false,
    }
}

/// How `process` itself holds the socket, in whichever of its threads.
pub fn hold_of(process: &Process, socket: u32) -> Result<Hold, HostError> {
    let pid = process.pid();
    let error = |source: std::io::Error| HostError::Proc { pid, what: "fd", source };
    let proc = folder(CWD, c"/proc").map_err(|e| error(e.into()))?;
    let (mut hold, mut left) = (Hold::Nothing, MAX_READ);
    let read = tables(&proc, pid, |thread, open| {
        let descriptors = open()?;
        let mut numbers = vec![];
        each(&descriptors, |descriptor| {
            left = left.checked_sub(1).ok_or(Errno::TOOBIG)?;
            if socket_behind(&descriptors, descriptor)? == Some(socket) {
                numbers.extend(number(descriptor));
            }
            Ok(())
        })?;
        for number in numbers {
            match std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/fdinfo/{number}")) {
                Ok(text) if closed_on_exec(&text) == Some(true) && hold != Hold::AcrossExec => hold = Hold::UntilExec,
                Ok(_) => hold = Hold::AcrossExec,
                Err(gone) if is_gone(&gone) => {}
                Err(other) => return Err(Errno::from_io_error(&other).unwrap_or(Errno::IO)),
            }
        }
        Ok(())
    });
    match read {
        Ok(()) => {}
        Err(Errno::TOOBIG) => return Err(HostError::ManyDescriptors),
        Err(other) => {
            process.check_alive()?;
            return Err(error(other.into()));
        }
    }
    process.check_alive()?;
    Ok(hold)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use sekisho_ports::instant;

    use super::*;

    /// A user that no other test uses.
    const STRANGER: u32 = 61_300;

    fn inode(stream: &UnixStream) -> u32 {
        let file = std::fs::File::from(stream.as_fd().try_clone_to_owned().unwrap());
        file.metadata().unwrap().ino().try_into().unwrap()
    }

    /// A set-user-ID program that a user starts, or a process that took another user within a user namespace, is owned
    /// in /proc by its effective user only.
    #[test]
    fn law_l11_a_holder_that_hides_its_user_is_found() {
        if crate::own_uid() != 0 {
            crate::skipped("not root, so there is no other user");
            return;
        }
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let socket = inode(&theirs);
        let (hidden, shown) = (STRANGER.to_string(), (STRANGER + 1).to_string());
        let mut command = Command::new("setpriv");
        command.args(["--ruid", &hidden, "--euid", &shown, "--regid", &shown, "--clear-groups", "cat"]);
        command
            .stdin(Stdio::from(OwnedFd::from(theirs.try_clone().unwrap())))
            .stdout(Stdio::from(OwnedFd::from(theirs)));
        let mut child = command.spawn().unwrap();
        drop(command);
        // It runs once it answers.
        std::io::Write::write_all(&mut ours, b"a").unwrap();
        ours.read_exact(&mut [0]).unwrap();
        let pid = child.id().cast_signed();
        assert_eq!(std::fs::metadata(format!("/proc/{pid}")).unwrap().uid(), STRANGER + 1, "its user is hidden");
        let held = |user: u32| socket_holders(&[socket].into(), &[user].into()).unwrap().held;
        assert_eq!((held(STRANGER), held(STRANGER + 1)), (vec![(socket, pid)], vec![(socket, pid)]));
        // What another user's processes have open costs nothing.
        assert_eq!(held(STRANGER + 2), []);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    #[ignore = "a measurement"]
    fn what_a_look_costs() {
        let proc = folder(CWD, c"/proc").unwrap();
        for user in [crate::own_uid(), STRANGER] {
            let (mut times, mut processes) = (vec![], 0);
            for _ in 0..200 {
                let began = instant();
                socket_holders(&[u32::MAX].into(), &[user].into()).unwrap();
                times.push(began.elapsed());
            }
            each(&proc, |name| {
                processes += usize::from(number(name).is_some_and(|pid| is_of(&proc, name, pid, &[user].into())));
                Ok(())
            })
            .unwrap();
            times.sort();
            println!("a user with {processes} processes: p50 {:?}, p99 {:?}", times[100], times[198]);
        }
    }
}
