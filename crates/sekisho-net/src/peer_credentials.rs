//! One of two places with `unsafe` outside the kernel crate: SO_PEERPIDFD has no safe wrapper yet. The other is
//! `kernel_calls.rs` of `sekisho-host`.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use sekisho_ports::UnixStream;
use tokio::net::UnixStream as KernelStream;

use crate::UnixPeer;

/// Linux 6.5, asm-generic.
const SO_PEERPIDFD: libc::c_int = 77;

/// The process at the other end. SO_PEERCRED names the process that connected, as the kernel recorded it then.
pub fn peer_of(stream: &UnixStream) -> std::io::Result<UnixPeer> {
    match stream.kernel() {
        Ok(stream) => kernel_peer_of(stream),
        // Simulated: the simulation names the process, and there is no descriptor.
        Err(peer) => {
            let peer = peer.ok_or(std::io::ErrorKind::NotConnected)?;
            Ok(UnixPeer { pid: peer.pid, uid: peer.uid, gid: peer.gid, pidfd: None, socket: (1, 1) })
        }
    }
}

/// Who is at the other end of a connection of the kernel's.
fn kernel_peer_of(stream: &KernelStream) -> std::io::Result<UnixPeer> {
    let credentials = stream.peer_cred()?;
    let pid = credentials.pid().ok_or_else(|| std::io::Error::other("the kernel names no process for this peer"))?;
    let socket = (rustix::fs::fstat(stream)?.st_ino, rustix::net::sockopt::socket_cookie(stream)?);
    Ok(UnixPeer { pid, uid: credentials.uid(), gid: credentials.gid(), pidfd: pidfd_of(stream)?, socket })
}

#[expect(unsafe_code, reason = "getsockopt(SO_PEERPIDFD) has no safe wrapper in libc, rustix or nix")]
fn pidfd_of(stream: &KernelStream) -> std::io::Result<Option<OwnedFd>> {
    let mut fd: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `fd` and `length` outlive the call, and `length` is the size of `fd`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            std::ptr::from_mut(&mut fd).cast(),
            std::ptr::from_mut(&mut length),
        )
    };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        // An older kernel does not know the option. Any other failure, above all that the process is gone, is a
        // refusal: its number may be another's by now.
        return if error.raw_os_error() == Some(libc::ENOPROTOOPT) { Ok(None) } else { Err(error) };
    }
    // SAFETY: the call succeeded, so `fd` is a new descriptor without another owner.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}
