//! Attempts by sockets of another time or another place, and by binding.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::path::PathBuf;

use rustix::net::{AddressFamily, SendFlags, SocketType, bind, connect, send, socket};

use super::attempt::{Attempt, Held};
use super::by_call::{DENIED4, stream, tcp4};
use super::network::DENIED_PORT;
use crate::probe::cgroup2;

type Tried = io::Result<Attempt>;

/// A port on which the self-test listens in no namespace.
const OWN_PORT: u16 = DENIED_PORT + 1;

/// The name of the relay, which only this network namespace knows.
pub(super) const RELAY: &[u8] = b"sekisho-selftest-relay";

pub(super) fn bind4(_: &mut Held, _: &[u8]) -> Tried {
    bind(&stream(DENIED4.into())?, &SocketAddr::from((Ipv4Addr::LOCALHOST, OWN_PORT)))?;
    Ok(Attempt::Succeeded)
}

pub(super) fn bind_any6(_: &mut Held, _: &[u8]) -> Tried {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, OWN_PORT));
    bind(&stream(address)?, &address)?;
    Ok(Attempt::Succeeded)
}

pub(super) fn make_tcp(held: &mut Held) -> io::Result<()> {
    held.socket = Some(stream(DENIED4.into())?);
    Ok(())
}

pub(super) fn connect_tcp(held: &mut Held) -> io::Result<()> {
    make_tcp(held)?;
    connect(own(held)?, &SocketAddr::from(DENIED4))?;
    Ok(())
}

pub(super) fn connect_udp(held: &mut Held) -> io::Result<()> {
    let datagrams = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    connect(&datagrams, &SocketAddr::from(DENIED4))?;
    held.socket = Some(datagrams);
    Ok(())
}

fn own(held: &Held) -> io::Result<&OwnedFd> {
    held.socket.as_ref().ok_or_else(|| io::Error::other("the first step was left out"))
}

pub(super) fn write(held: &mut Held, token: &[u8]) -> Tried {
    send(own(held)?, token, SendFlags::NOSIGNAL)?;
    Ok(Attempt::Arrives)
}

pub(super) fn connect_and_write(held: &mut Held, token: &[u8]) -> Tried {
    connect(own(held)?, &SocketAddr::from(DENIED4))?;
    write(held, token)
}

pub(super) fn write_to_passed(held: &mut Held, token: &[u8]) -> Tried {
    let passed = held.passed.as_ref().ok_or_else(|| io::Error::other("no descriptor was passed"))?;
    send(passed, token, SendFlags::NOSIGNAL)?;
    Ok(Attempt::Arrives)
}

pub(super) fn relay(_: &mut Held, token: &[u8]) -> Tried {
    UnixStream::connect_addr(&UnixAddress::from_abstract_name(RELAY)?)?.write_all(token)?;
    Ok(Attempt::Arrives)
}

fn root_of_cgroups() -> io::Result<PathBuf> {
    cgroup2().ok_or_else(|| io::Error::other("no cgroup2 file system is mounted"))
}

pub(super) fn child_cgroup(held: &mut Held, token: &[u8]) -> Tried {
    let lines = fs::read_to_string("/proc/self/cgroup")?;
    let own = lines.lines().find_map(|line| line.strip_prefix("0::/"));
    let child = root_of_cgroups()?.join(own.unwrap_or_default()).join("child");
    fs::create_dir(&child)?;
    fs::write(child.join("cgroup.procs"), "0")?;
    tcp4(held, token)
}

pub(super) fn leave_cgroup(held: &mut Held, token: &[u8]) -> Tried {
    fs::write(root_of_cgroups()?.join("cgroup.procs"), "0")?;
    tcp4(held, token)
}
