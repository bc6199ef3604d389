//! TCP sockets of this network namespace, looked up one by one (`linux/inet_diag.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::AddressFamily;

use crate::HostError;
use crate::netlink::{SocketQuery, number, sock_diag};

const TCP: u8 = 6;
/// `INET_DIAG_NOCOOKIE`: any socket with these ends.
const ANY_COOKIE: u64 = u64::MAX;
const ALL_STATES: u32 = u32::MAX;

/// `linux/tcp.h`, as far as anything depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpState {
    Established,
    /// The service's half of a handshake that is not finished, or whose data has not come yet (TCP_DEFER_ACCEPT).
    SynReceived,
    /// This end has sent its last byte (FIN_WAIT1, FIN_WAIT2), and still reads.
    HalfClosed,
    /// The other end has sent its last byte.
    CloseWait,
    Listen,
    /// On its way in or out: nothing is to be read from it.
    Other,
}

/// A TCP socket as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSocket {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub state: TcpState,
    /// The user who made or accepted it.
    pub uid: u32,
    /// Zero while no process holds it: not accepted yet, or closed already.
    pub inode: u32,
    /// Unlike its ends, never given to another socket (SO_COOKIE).
    pub cookie: u64,
}

/// The socket with these ends, or the listener behind `local` if there is none; with a `cookie`, that very socket only.
fn lookup(local: SocketAddr, remote: SocketAddr, cookie: Option<u64>) -> Result<Option<TcpSocket>, HostError> {
    let (local, remote) = (canonical(local), canonical(remote));
    if local.is_ipv4() != remote.is_ipv4() {
        return Ok(None);
    }
    let answers =
        sock_diag(&request(local, remote, cookie, ALL_STATES), SocketQuery::One).map_err(HostError::Sockets)?;
    Ok(answers.first().and_then(|answer| socket(answer)))
}

/// The TCP socket of this machine whose ends are `local` (its own) and `remote`.
pub fn tcp_socket(local: SocketAddr, remote: SocketAddr) -> Result<Option<TcpSocket>, HostError> {
    let ends = (canonical(local), canonical(remote));
    Ok(lookup(local, remote, None)?.filter(|found| (found.local, found.remote) == ends))
}

/// The same, if it is the socket with this cookie: its ends may have been given to another since.
pub fn tcp_socket_with_cookie(
    local: SocketAddr,
    remote: SocketAddr,
    cookie: u64,
) -> Result<Option<TcpSocket>, HostError> {
    let ends = (canonical(local), canonical(remote));
    Ok(lookup(local, remote, Some(cookie))?
        .filter(|found| found.cookie == cookie && (found.local, found.remote) == ends))
}

/// All sockets that take connections to `address`, by it alone or by all addresses.
pub fn tcp_listeners(address: SocketAddr) -> Result<Vec<TcpSocket>, HostError> {
    let port = address.port();
    let mut out = vec![];
    // A listener on `::` takes IPv4 as well, as Go's and Java's do by default.
    for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        // The states keep the kernel from reading its table of connections.
        let request = request(SocketAddr::new(any, port), SocketAddr::new(any, 0), None, 1 << LISTEN);
        let answers = match sock_diag(&request, SocketQuery::All) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => sock_diag(&request, SocketQuery::All),
            answers => answers,
        };
        out.extend(answers.map_err(HostError::Sockets)?.iter().filter_map(|answer| socket(answer)));
    }
    let wanted = canonical(address).ip();
    out.retain(|found| {
        let ip = found.local.ip();
        found.state == TcpState::Listen && found.local.port() == port && (ip == wanted || ip.is_unspecified())
    });
    Ok(out)
}

/// `struct inet_diag_req_v2`: family, protocol, no extensions, states, and `struct inet_diag_sockid`.
fn request(local: SocketAddr, remote: SocketAddr, cookie: Option<u64>, states: u32) -> Vec<u8> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut out = Vec::with_capacity(56);
    out.extend([u8::try_from(family.as_raw()).unwrap_or(0), TCP, 0, 0]);
    out.extend(states.to_ne_bytes());
    out.extend(local.port().to_be_bytes());
    out.extend(remote.port().to_be_bytes());
    out.extend(address_bytes(local.ip()));
    out.extend(address_bytes(remote.ip()));
    // Any device.
    out.extend(0u32.to_ne_bytes());
    let cookie = cookie.unwrap_or(ANY_COOKIE);
    // The lower half is the first of two words.
    out.extend(((cookie & u64::from(u32::MAX)) as u32).to_ne_bytes());
    out.extend(((cookie >> 32) as u32).to_ne_bytes());
    out
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}

const LISTEN: u8 = 10;

/// `struct inet_diag_msg`: family, state, timer, retransmits, the ends, four counters, then uid and inode.
fn socket(answer: &[u8]) -> Option<TcpSocket> {
    let (family, state) = (*answer.first()?, *answer.get(1)?);
    let port = |at: usize| Some(u16::from_be_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let v4 = i32::from(family) == i32::from(AddressFamily::INET.as_raw());
    let address = |at: usize| {
        Some(if v4 {
            IpAddr::from(<[u8; 4]>::try_from(answer.get(at..at + 4)?).ok()?)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(answer.get(at..at + 16)?).ok()?).to_canonical()
        })
    };
    Some(TcpSocket {
        local: SocketAddr::new(address(8)?, port(4)?),
        remote: SocketAddr::new(address(24)?, port(6)?),
        state: match state {
            1 => TcpState::Established,
            3 | 12 => TcpState::SynReceived,
            4 | 5 => TcpState::HalfClosed,
            8 => TcpState::CloseWait,
            LISTEN => TcpState::Listen,
            _ => TcpState::Other,
        },
        cookie: u64::from(number(answer, 44)?) | u64::from(number(answer, 48)?) << 32,
        uid: number(answer, 64)?,
        inode: number(answer, 68)?,
    })
}

/// A socket of IPv6 may have ends of IPv4, which others write as such.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::linux::fs::MetadataExt;

    use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout, socket_cookie};

    use super::*;

    /// The inode behind a descriptor.
    fn inode(socket: impl AsFd) -> u64 {
        let file = std::fs::File::from(socket.as_fd().try_clone_to_owned().unwrap());
        file.metadata().unwrap().st_ino()
    }

    #[test]
    fn a_connection_is_found_by_ends_and_cookie() {
        for (bind, dial) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let listener = TcpListener::bind(bind).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((dial, port)).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let (ours, theirs) = (server.local_addr().unwrap(), server.peer_addr().unwrap());

            let peer = tcp_socket(theirs, ours).unwrap().unwrap();
            assert_eq!((peer.state, u64::from(peer.inode)), (TcpState::Established, inode(&client)), "{bind}");
            assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
            let cookie = socket_cookie(&server).unwrap();
            let own = tcp_socket_with_cookie(ours, theirs, cookie).unwrap().unwrap();
            assert_eq!((own.state, u64::from(own.inode)), (TcpState::Established, inode(&server)), "{bind}");
            assert_eq!(tcp_socket_with_cookie(ours, theirs, cookie + 1).unwrap(), None);
            let address = SocketAddr::new(dial.parse().unwrap(), port);
            let listeners = tcp_listeners(address).unwrap();
            assert_eq!(listeners.iter().map(|l| u64::from(l.inode)).collect::<Vec<_>>(), [inode(&listener)]);

            // A reset takes our end out of the table, although it still has a descriptor.
            set_socket_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
            drop(client);
            set_socket_timeout(&server, Timeout::Recv, Some(std::time::Duration::from_secs(10))).unwrap();
            assert!(server.read(&mut [0]).is_err());
            assert_eq!(tcp_socket_with_cookie(ours, theirs, cookie).unwrap(), None, "{bind}");
            assert_eq!(tcp_socket(theirs, ours).unwrap(), None, "{bind}");
        }
    }
}
