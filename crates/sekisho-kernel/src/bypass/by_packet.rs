//! Attempts below the calls that name a peer: packets made by hand, options of IP, protocols that no rule knows.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, connect, ipproto, recv, send, sendto, socket, sockopt,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::attempt::{Attempt, Held};
use super::by_call::{DENIED4, protocol};
use super::network::{ALLOWED_PORT, DENIED_PORT, LOOPBACK, put};
use super::raw_calls::{bind, set_option};

type Tried = io::Result<Attempt>;

/// The ones' complement sum of headers.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or_default()
}

/// Ports, length and no checksum, then the token.
fn udp_datagram(token: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + token.len()).unwrap_or_default();
    let mut datagram = Vec::new();
    for word in [40_000, DENIED_PORT, length, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(token);
    datagram
}

/// A whole packet from 127.0.0.1 to the denied port of it.
fn ip_packet(token: &[u8]) -> Vec<u8> {
    let datagram = udp_datagram(token);
    let mut header = [0_u8; 20];
    put(&mut header, 0, &[0x45]);
    put(&mut header, 2, &u16::try_from(20 + datagram.len()).unwrap_or_default().to_be_bytes());
    put(&mut header, 8, &[64, 17]);
    put(&mut header, 12, &Ipv4Addr::LOCALHOST.octets());
    put(&mut header, 16, &Ipv4Addr::LOCALHOST.octets());
    let sum = checksum(&header);
    put(&mut header, 10, &sum.to_be_bytes());
    [header.as_slice(), &datagram].concat()
}

pub(super) fn raw4(_: &mut Held, token: &[u8]) -> Tried {
    let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
    sendto(&socket, &ip_packet(token), SendFlags::NOSIGNAL, &SocketAddr::from(DENIED4))?;
    Ok(Attempt::Arrives)
}

pub(super) fn raw6(_: &mut Held, token: &[u8]) -> Tried {
    let socket = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::UDP))?;
    // The kernel fills in the checksum at this place.
    set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_CHECKSUM, &6_i32.to_ne_bytes())?;
    sendto(&socket, &udp_datagram(token), SendFlags::NOSIGNAL, &SocketAddr::from((Ipv6Addr::LOCALHOST, 0)))?;
    Ok(Attempt::Arrives)
}

pub(super) fn packet(_: &mut Held, token: &[u8]) -> Tried {
    let ethernet_ip = u16::to_be(0x0800);
    let socket = socket(AddressFamily::PACKET, SocketType::RAW, protocol(ethernet_ip.into()))?;
    let mut address = [0; 20];
    put(&mut address, 0, &u16::try_from(libc::AF_PACKET).unwrap_or_default().to_ne_bytes());
    put(&mut address, 2, &ethernet_ip.to_ne_bytes());
    put(&mut address, 4, &LOOPBACK.to_ne_bytes());
    bind(&socket, &address)?;
    let mut frame = vec![0; 12];
    frame.extend(ethernet_ip.to_ne_bytes());
    frame.extend(ip_packet(token));
    send(&socket, &frame, SendFlags::NOSIGNAL)?;
    Ok(Attempt::Arrives)
}

/// Not an attempt that rules block: it shows that what is advised against packet sockets works.
pub(super) fn packet_unprivileged(held: &mut Held, token: &[u8]) -> Tried {
    let mut own = capabilities(None)?;
    for set in [&mut own.effective, &mut own.permitted, &mut own.inheritable] {
        set.remove(CapabilitySet::NET_RAW);
    }
    set_capabilities(None, own)?;
    packet(held, token)
}

/// The answer of this machine counts, which no listener sees.
pub(super) fn ping(_: &mut Held, token: &[u8]) -> Tried {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_millis(300)))?;
    let mut request = vec![8, 0, 0, 0, 0, 0, 0, 1];
    request.extend(token);
    sendto(&socket, &request, SendFlags::NOSIGNAL, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let mut answer = [0; 64];
    recv(&socket, &mut answer[..], RecvFlags::empty())?;
    Ok(Attempt::Succeeded)
}

/// To an allowed peer, by way of that peer and then of a host that no rule allows. That the kernel sends it is the
/// success.
pub(super) fn source_route(_: &mut Held, token: &[u8]) -> Tried {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // Loose source route of two hosts, padded to a multiple of four.
    let mut option = vec![131, 11, 4];
    option.extend(Ipv4Addr::LOCALHOST.octets());
    option.extend(Ipv4Addr::new(127, 0, 0, 9).octets());
    option.push(0);
    set_option(&socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &option)?;
    connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, ALLOWED_PORT)))?;
    send(&socket, token, SendFlags::NOSIGNAL)?;
    Ok(Attempt::Succeeded)
}

pub(super) fn routing_header(_: &mut Held, token: &[u8]) -> Tried {
    let socket = socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
    // A segment routing header (RFC 8754) of one segment, for which the kernel puts the peer's address.
    let mut header = vec![0, 2, 4, 0, 0, 0, 0, 0];
    header.extend(Ipv6Addr::LOCALHOST.octets());
    set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &header)?;
    connect(&socket, &SocketAddr::from((Ipv6Addr::LOCALHOST, ALLOWED_PORT)))?;
    send(&socket, token, SendFlags::NOSIGNAL)?;
    Ok(Attempt::Succeeded)
}

fn made(kind: SocketType, number: i32) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::INET, kind, protocol(number))?)
}

/// That such a socket exists is the success: no rule can be about what it sends.
pub(super) fn udplite(_: &mut Held, _: &[u8]) -> Tried {
    made(SocketType::DGRAM, libc::IPPROTO_UDPLITE).map(|_| Attempt::Succeeded)
}

pub(super) fn sctp(_: &mut Held, _: &[u8]) -> Tried {
    made(SocketType::STREAM, libc::IPPROTO_SCTP).map(|_| Attempt::Succeeded)
}
