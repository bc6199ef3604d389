//! Unix sockets of this machine, looked up one by one (`linux/unix_diag.h`).

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use rustix::net::AddressFamily;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::netlink::{SocketQuery, number, sock_diag};
use crate::{HostError, Process};

const SHOW_PEER: u32 = 4;
/// `UNIX_DIAG_PEER`: an attribute with the inode of the other end.
const PEER: u16 = 2;
const ALL_STATES: u32 = u32::MAX;

/// A connected Unix socket of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixSocket {
    pub inode: u32,
    /// Never given to another socket (SO_COOKIE).
    pub cookie: u64,
}

/// The inode of the socket at the other end of `socket`, which `caller` has connected; `None` once that end is closed.
///
/// An accepted socket belongs to the network namespace of the process that connected (unix(7)), so it is looked up
/// there.
pub fn unix_peer(socket: UnixSocket, caller: &Process) -> Result<Option<u32>, HostError> {
    let request = request(socket);
    let ours = sock_diag(&request, SocketQuery::One).map_err(HostError::Sockets)?;
    let answer = match ours.into_iter().next() {
        Some(answer) => Some(answer),
        None => elsewhere(&request, caller)?,
    };
    Ok(answer.and_then(|answer| peer_of(&answer)))
}

/// Asks in the caller's network namespace, from a thread that ends afterwards.
fn elsewhere(request: &[u8], caller: &Process) -> Result<Option<Vec<u8>>, HostError> {
    let pid = caller.pid();
    let other = || HostError::OtherNetwork(pid);
    let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(|_| other())?;
    caller.check_alive()?;
    let id = |meta: std::io::Result<std::fs::Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
    if id(namespace.metadata()) == id(std::fs::metadata("/proc/self/ns/net")) {
        return Ok(None);
    }
    let request = request.to_vec();
    let asked = std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).ok()?;
        sock_diag(&request, SocketQuery::One).ok()
    });
    let answers = asked.join().ok().flatten().ok_or_else(other)?;
    Ok(answers.into_iter().next())
}

/// `struct unix_diag_req`
fn request(socket: UnixSocket) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.extend([u8::try_from(AddressFamily::UNIX.as_raw()).unwrap_or(0), 0, 0, 0]);
    out.extend(ALL_STATES.to_ne_bytes());
    out.extend(socket.inode.to_ne_bytes());
    out.extend(SHOW_PEER.to_ne_bytes());
    // The lower half is the first of two words.
    out.extend(((socket.cookie & u64::from(u32::MAX)) as u32).to_ne_bytes());
    out.extend(((socket.cookie >> 32) as u32).to_ne_bytes());
    out
}

/// `struct unix_diag_msg` has 16 bytes; attributes (length, type, value, each aligned to four bytes) follow.
fn peer_of(answer: &[u8]) -> Option<u32> {
    let mut rest = answer.get(16..)?;
    loop {
        let head = number(rest, 0)?.to_ne_bytes();
        let (length, kind) = (u16::from_ne_bytes([head[0], head[1]]), u16::from_ne_bytes([head[2], head[3]]));
        if kind == PEER && length >= 8 {
            return number(rest, 4).filter(|inode| *inode != 0);
        }
        rest = rest.get(usize::from(length.max(4)).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::net::sockopt::socket_cookie;

    use super::*;
    use crate::{Hold, hold_of, socket_holders};

    fn own_end(stream: &UnixStream) -> UnixSocket {
        let file = File::from(stream.as_fd().try_clone_to_owned().unwrap());
        UnixSocket { inode: file.metadata().unwrap().ino().try_into().unwrap(), cookie: socket_cookie(stream).unwrap() }
    }

    #[tokio::test]
    async fn law_l11_all_holders_of_a_connection_are_found() {
        let own = Process::open(std::process::id().cast_signed()).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = unix_peer(own_end(&ours), &own).unwrap().unwrap();
        assert_eq!(peer, own_end(&theirs).inode);
        let wrong = UnixSocket { cookie: own_end(&ours).cookie + 1, ..own_end(&ours) };
        assert_eq!(unix_peer(wrong, &own).unwrap(), None, "another socket has that inode by now");
        assert!(matches!(hold_of(&own, peer).unwrap(), Hold::UntilExec(_)));
        let held = |peer: u32| socket_holders(&[peer].into(), &[crate::own_uid()].into()).unwrap().held;
        assert_eq!(held(peer), [(peer, own.pid())]);

        // A child that was given it as its standard input.
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .stdin(std::os::fd::OwnedFd::from(theirs.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        let holders: std::collections::BTreeSet<_> = held(peer).into_iter().collect();
        assert_eq!(holders, [(peer, own.pid()), (peer, pid)].into());
        let holds = hold_of(&Process::open(pid).unwrap(), peer).unwrap();
        assert_eq!(holds, Hold::AcrossExec(crate::Descriptor { thread: pid, number: 0 }));
        child.kill().unwrap();
        child.wait().unwrap();
        drop(theirs);
        assert_eq!(unix_peer(own_end(&ours), &own).unwrap(), None);
        assert_eq!(hold_of(&own, peer).unwrap(), Hold::Nothing);
    }

    #[test]
    fn law_l9_a_damaged_answer_names_no_peer() {
        let whole = [&[0u8; 16][..], &[5, 0, 0, 0, 9, 0, 0, 0], &[8, 0, 2, 0], &7u32.to_ne_bytes()].concat();
        assert_eq!(peer_of(&whole), Some(7));
        for cut in 0..whole.len() {
            assert_eq!(peer_of(&whole[..cut]), None);
        }
        assert_eq!(peer_of(&[0; 64]), None);
    }
}
