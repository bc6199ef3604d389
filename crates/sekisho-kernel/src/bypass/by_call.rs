//! Attempts by calls that name the peer.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;

use rustix::net::addr::SocketAddrArg;
use rustix::net::{
    AddressFamily, MMsgHdr, Protocol, SendAncillaryBuffer, SendFlags, SocketType, connect, connect_unspec, ipproto,
    listen, send, sendmmsg, sendmsg_addr, sendto, socket,
};

use super::attempt::{Attempt, Held};
use super::network::{ALLOWED_PORT, DENIED_PORT, LINK_LOCAL, LOOPBACK, put};
use super::raw_calls::{send_to, set_option};

type Tried = io::Result<Attempt>;

pub(super) const DENIED4: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, DENIED_PORT);
const DENIED6: (Ipv6Addr, u16) = (Ipv6Addr::LOCALHOST, DENIED_PORT);
const ALLOWED4: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, ALLOWED_PORT);

fn mapped() -> SocketAddr {
    (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), DENIED_PORT).into()
}

pub(super) fn stream(address: SocketAddr) -> io::Result<OwnedFd> {
    Ok(socket(family(address), SocketType::STREAM, None)?)
}

fn datagrams(address: SocketAddr) -> io::Result<OwnedFd> {
    Ok(socket(family(address), SocketType::DGRAM, None)?)
}

const fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// Connects a socket and sends the token on it.
fn deliver(socket: OwnedFd, address: SocketAddr, token: &[u8], held: &mut Held) -> Tried {
    connect(&socket, &address)?;
    send(&socket, token, SendFlags::NOSIGNAL)?;
    // It stays open until the listener has read.
    held.socket = Some(socket);
    Ok(Attempt::Arrives)
}

fn tcp(address: SocketAddr, token: &[u8], held: &mut Held) -> Tried {
    deliver(stream(address)?, address, token, held)
}

/// The connection that is a control: it has to work.
pub(super) fn allowed(held: &mut Held, token: &[u8]) -> Tried {
    tcp(ALLOWED4.into(), token, held)
}

pub(super) fn tcp4(held: &mut Held, token: &[u8]) -> Tried {
    tcp(DENIED4.into(), token, held)
}

pub(super) fn tcp6(held: &mut Held, token: &[u8]) -> Tried {
    tcp(DENIED6.into(), token, held)
}

pub(super) fn tcp_mapped(held: &mut Held, token: &[u8]) -> Tried {
    tcp(mapped(), token, held)
}

pub(super) fn tcp_zone(held: &mut Held, token: &[u8]) -> Tried {
    tcp(SocketAddrV6::new(LINK_LOCAL, DENIED_PORT, 0, LOOPBACK).into(), token, held)
}

pub(super) fn tcp4_any(held: &mut Held, token: &[u8]) -> Tried {
    tcp((Ipv4Addr::UNSPECIFIED, DENIED_PORT).into(), token, held)
}

pub(super) fn tcp6_any(held: &mut Held, token: &[u8]) -> Tried {
    tcp((Ipv6Addr::UNSPECIFIED, DENIED_PORT).into(), token, held)
}

/// `struct sockaddr_in`, with any family.
pub(super) fn address4(family: i32, (ip, port): (Ipv4Addr, u16)) -> [u8; 16] {
    let mut address = [0; 16];
    put(&mut address, 0, &u16::try_from(family).unwrap_or_default().to_ne_bytes());
    put(&mut address, 2, &port.to_be_bytes());
    put(&mut address, 4, &ip.octets());
    address
}

pub(super) fn fast_open(held: &mut Held, token: &[u8]) -> Tried {
    let socket = stream(DENIED4.into())?;
    send_to(&socket, token, libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL, &address4(libc::AF_INET, DENIED4))?;
    held.socket = Some(socket);
    Ok(Attempt::Arrives)
}

pub(super) fn fast_open_connect(held: &mut Held, token: &[u8]) -> Tried {
    let socket = stream(DENIED4.into())?;
    set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, &1_i32.to_ne_bytes())?;
    deliver(socket, DENIED4.into(), token, held)
}

pub(super) fn mptcp(held: &mut Held, token: &[u8]) -> Tried {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP))?;
    deliver(socket, DENIED4.into(), token, held)
}

pub(super) fn tcp_device(held: &mut Held, token: &[u8]) -> Tried {
    let socket = stream(DENIED4.into())?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo\0")?;
    deliver(socket, DENIED4.into(), token, held)
}

pub(super) fn tcp_again(held: &mut Held, token: &[u8]) -> Tried {
    let socket = stream(DENIED4.into())?;
    connect(&socket, &SocketAddr::from(ALLOWED4))?;
    connect_unspec(&socket)?;
    deliver(socket, DENIED4.into(), token, held)
}

pub(super) fn tcp_listener(held: &mut Held, token: &[u8]) -> Tried {
    let socket = stream(DENIED4.into())?;
    listen(&socket, 1)?;
    connect_unspec(&socket)?;
    deliver(socket, DENIED4.into(), token, held)
}

pub(super) fn udp_connected4(held: &mut Held, token: &[u8]) -> Tried {
    deliver(datagrams(DENIED4.into())?, DENIED4.into(), token, held)
}

pub(super) fn udp_connected6(held: &mut Held, token: &[u8]) -> Tried {
    deliver(datagrams(DENIED6.into())?, DENIED6.into(), token, held)
}

fn send_datagram(socket: &OwnedFd, address: SocketAddr, token: &[u8]) -> Tried {
    sendto(socket, token, SendFlags::NOSIGNAL, &address)?;
    Ok(Attempt::Arrives)
}

pub(super) fn udp_sendto4(_: &mut Held, token: &[u8]) -> Tried {
    send_datagram(&datagrams(DENIED4.into())?, DENIED4.into(), token)
}

pub(super) fn udp_sendto6(_: &mut Held, token: &[u8]) -> Tried {
    send_datagram(&datagrams(DENIED6.into())?, DENIED6.into(), token)
}

pub(super) fn udp_sendmsg4(_: &mut Held, token: &[u8]) -> Tried {
    let socket = datagrams(DENIED4.into())?;
    let mut nothing = SendAncillaryBuffer::default();
    sendmsg_addr(&socket, &SocketAddr::from(DENIED4), &[IoSlice::new(token)], &mut nothing, SendFlags::NOSIGNAL)?;
    Ok(Attempt::Arrives)
}

pub(super) fn udp_mapped(_: &mut Held, token: &[u8]) -> Tried {
    send_datagram(&datagrams(mapped())?, mapped(), token)
}

pub(super) fn udp6_to_4(_: &mut Held, token: &[u8]) -> Tried {
    send_datagram(&datagrams(DENIED6.into())?, DENIED4.into(), token)
}

pub(super) fn udp_unspec_family(_: &mut Held, token: &[u8]) -> Tried {
    send_to(datagrams(DENIED4.into())?, token, libc::MSG_NOSIGNAL, &address4(libc::AF_UNSPEC, DENIED4))?;
    Ok(Attempt::Arrives)
}

pub(super) fn udp_again(held: &mut Held, token: &[u8]) -> Tried {
    let socket = datagrams(DENIED4.into())?;
    connect(&socket, &SocketAddr::from(ALLOWED4))?;
    connect_unspec(&socket)?;
    deliver(socket, DENIED4.into(), token, held)
}

pub(super) fn udp_other_peer(_: &mut Held, token: &[u8]) -> Tried {
    let socket = datagrams(DENIED4.into())?;
    connect(&socket, &SocketAddr::from(ALLOWED4))?;
    send(&socket, b"first", SendFlags::NOSIGNAL)?;
    send_datagram(&socket, DENIED4.into(), token)
}

/// A refused message ends the call: what came before it was sent.
pub(super) fn udp_sendmmsg(_: &mut Held, token: &[u8]) -> Tried {
    let socket = datagrams(DENIED4.into())?;
    let (allowed, denied) = (SocketAddr::from(ALLOWED4), SocketAddr::from(DENIED4));
    let (allowed, denied) = (allowed.as_any(), denied.as_any());
    let (first, second) = ([IoSlice::new(b"first")], [IoSlice::new(token)]);
    let (mut none, mut nothing) = (SendAncillaryBuffer::default(), SendAncillaryBuffer::default());
    let mut messages =
        [MMsgHdr::new_with_addr(&allowed, &first, &mut none), MMsgHdr::new_with_addr(&denied, &second, &mut nothing)];
    sendmmsg(&socket, &mut messages, SendFlags::NOSIGNAL)?;
    Ok(Attempt::Arrives)
}

pub(super) const fn protocol(number: i32) -> Option<Protocol> {
    match std::num::NonZero::new(number.cast_unsigned()) {
        Some(number) => Some(Protocol::from_raw(number)),
        None => None,
    }
}
