//! Which processes hold a socket open: their descriptors, as /proc lists them.
//!
//! It is a search, not a snapshot. A descriptor in flight between two processes (SCM_RIGHTS) is in no table, and one
//! that moves during the search can be missed; `hold_of` closes that gap for exec.

use std::collections::BTreeSet;

use rustix::fs::CWD;
use rustix::io::Errno;

use crate::descriptors::{each, folder, number, socket_behind, tables};
use crate::holder_search::{Descriptor, HolderSearch, Holders, Sought};
use crate::proc_text::closed_on_exec;
use crate::process::is_gone;
use crate::{HostError, Process};

/// The limit of one search, in descriptors: about a second's work. A user with more open descriptors gets no answer.
const MAX_READ: u32 = 1_000_000;

/// How a process holds a socket: by a descriptor, which is one of several perhaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Nothing,
    /// All its descriptors of it are closed on exec. So they came to be after the last one: another program that ran in
    /// this process before did not leave them.
    UntilExec(Descriptor),
    /// A program that ran in this process before may have opened it.
    AcrossExec(Descriptor),
}

/// All processes of `users` that hold one of these sockets, in any of their threads. Another user has such a socket
/// only if a process of these gave it away, and what another user's processes have open may not cost anything here.
/// Reads the descriptors of every process of `users`: not for async threads.
pub fn socket_holders(wanted: &BTreeSet<u32>, users: &BTreeSet<u32>) -> Result<Holders, HostError> {
    holders_within(MAX_READ, wanted, users)
}

/// The same for one socket, of which a process has this descriptor. It takes less time.
pub fn holders_like(socket: u32, like: Descriptor, users: &BTreeSet<u32>) -> Result<Holders, HostError> {
    let found = HolderSearch::run(MAX_READ, &Sought::Like(socket, like), users).map_err(failed)?;
    // If the descriptor is another file's by now, or not even its own process was found by it, then what was compared
    // with it says nothing.
    let says_who = !found.held.is_empty() && is_of_socket(like, socket);
    if says_who { Ok(found) } else { socket_holders(&[socket].into(), users) }
}

/// As [`socket_holders`], with another bound on what is read.
pub(crate) fn holders_within(left: u32, wanted: &BTreeSet<u32>, users: &BTreeSet<u32>) -> Result<Holders, HostError> {
    HolderSearch::run(left, &Sought::Sockets(wanted), users).map_err(failed)
}

fn failed(error: Errno) -> HostError {
    match error {
        Errno::TOOBIG => HostError::ManyDescriptors,
        other => HostError::Sockets(other.into()),
    }
}

fn is_of_socket(of: Descriptor, socket: u32) -> bool {
    let Ok(number) = std::ffi::CString::new(of.number.to_string()) else { return false };
    let table = folder(CWD, format!("/proc/{}/fd", of.thread));
    table.is_ok_and(|table| socket_behind(&table, &number) == Ok(Some(socket)))
}

/// How `process` itself holds the socket, in whichever of its threads.
pub fn hold_of(process: &Process, socket: u32) -> Result<Hold, HostError> {
    let pid = process.pid();
    let error = |source: std::io::Error| HostError::Proc { pid, what: "fd", source };
    let proc = folder(CWD, c"/proc").map_err(|e| error(e.into()))?;
    let (mut hold, mut left) = (Hold::Nothing, MAX_READ);
    let read = tables(
        &proc,
        pid,
        || true,
        |thread, open| {
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
                    Ok(text) if closed_on_exec(&text) == Some(true) => match hold {
                        Hold::AcrossExec(_) => {}
                        _ => hold = Hold::UntilExec(Descriptor { thread, number }),
                    },
                    Ok(_) => hold = Hold::AcrossExec(Descriptor { thread, number }),
                    Err(gone) if is_gone(&gone) => {}
                    Err(other) => return Err(Errno::from_io_error(&other).unwrap_or(Errno::IO)),
                }
            }
            Ok(())
        },
    );
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
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use sekisho_ports::instant;

    use super::*;
    use crate::holder_search::is_of;

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
        let like = Descriptor { thread: pid, number: 0 };
        let found = |user: u32| holders_like(socket, like, &[user].into()).unwrap().held;
        assert_eq!((found(STRANGER), found(STRANGER + 2)), (vec![(socket, pid)], vec![]));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// What is compared with a descriptor that became another file's says nothing: the search names descriptors then.
    #[test]
    fn law_l11_a_reused_descriptor_hides_no_holder() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let (other, _far) = UnixStream::pair().unwrap();
        let own = std::process::id().cast_signed();
        let socket = inode(&theirs);
        let users: BTreeSet<u32> = [crate::own_uid()].into();
        for number in [other.as_raw_fd(), i32::MAX] {
            let like = Descriptor { thread: own, number };
            assert_eq!(holders_like(socket, like, &users).unwrap().held, [(socket, own)]);
        }
    }

    #[test]
    #[ignore = "a measurement"]
    fn what_a_look_costs() {
        let (proc, (ours, _theirs)) = (folder(CWD, c"/proc").unwrap(), UnixStream::pair().unwrap());
        let like = Descriptor { thread: std::process::id().cast_signed(), number: ours.as_raw_fd() };
        let socket = inode(&ours);
        for user in [crate::own_uid(), STRANGER] {
            let (mut by_inode, mut by_likeness, mut processes) = (vec![], vec![], 0);
            for _ in 0..200 {
                let began = instant();
                socket_holders(&[socket].into(), &[user].into()).unwrap();
                by_inode.push(began.elapsed());
                let began = instant();
                holders_like(socket, like, &[user].into()).unwrap();
                by_likeness.push(began.elapsed());
            }
            each(&proc, |name| {
                processes += usize::from(number(name).is_some_and(|pid| is_of(&proc, pid, &[user].into())));
                Ok(())
            })
            .unwrap();
            for (how, mut times) in [("inode", by_inode), ("likeness", by_likeness)] {
                times.sort();
                println!("a user with {processes} processes, by {how}: p50 {:?}, p99 {:?}", times[100], times[198]);
            }
        }
    }
}
