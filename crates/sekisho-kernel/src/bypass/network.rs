//! A network namespace with nothing but a loopback interface, and what listens in it.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

use super::raw_calls::{ADD_ADDRESS, SET_FLAGS, configure, new_network};

/// Where the policy of the self-test lets a workload go, on 127.0.0.1 and `::1`.
pub const ALLOWED_PORT: u16 = 7000;
/// Where it does not.
pub const DENIED_PORT: u16 = 7001;
/// The loopback interface is the first of a namespace.
pub(super) const LOOPBACK: u32 = 1;
/// An address that needs a zone.
pub(super) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// What arrived, by any way.
#[derive(Debug)]
pub struct Listeners {
    arrived: Arc<Mutex<BTreeSet<Vec<u8>>>>,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Gives the calling thread, and threads and processes that it starts, an empty network, and listens in it.
pub fn scratch_network() -> io::Result<Listeners> {
    new_network()?;
    let any = socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
    let mut flags = interface_request();
    const UP: u16 = 1;
    put(&mut flags, 16, &UP.to_ne_bytes());
    configure(&any, SET_FLAGS, &mut flags)?;
    let mut address = [0; 40];
    put(&mut address, 0, &LINK_LOCAL.octets());
    put(&mut address, 16, &64_u32.to_ne_bytes());
    put(&mut address, 20, &LOOPBACK.to_ne_bytes());
    // Without IPv6 the attempts that need it say so.
    let _no_ipv6 = configure(&any, ADD_ADDRESS, &mut address);
    // A packet from 127.0.0.1 that a packet socket made is taken for one from outside.
    for setting in ["route_localnet", "accept_local"] {
        let _dropped = std::fs::write(format!("/proc/sys/net/ipv4/conf/lo/{setting}"), "1");
    }
    // Of this namespace: it lets everyone open echo sockets.
    let _no_echo = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    Listeners::start()
}

fn interface_request() -> [u8; 40] {
    let mut request = [0; 40];
    put(&mut request, 0, b"lo");
    request
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// A socket for one family only.
fn bound(kind: SocketType, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, kind, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

impl Listeners {
    fn start() -> io::Result<Self> {
        let mut all = Self { arrived: Arc::default(), stopped: Arc::default(), threads: Vec::new() };
        for port in [ALLOWED_PORT, DENIED_PORT] {
            for address in [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), (Ipv6Addr::UNSPECIFIED, port).into()] {
                let tcp = bound(SocketType::STREAM, address)?;
                listen(&tcp, 16)?;
                let (tcp, udp) = (TcpListener::from(tcp), UdpSocket::from(bound(SocketType::DGRAM, address)?));
                tcp.set_nonblocking(true)?;
                udp.set_read_timeout(Some(TURN))?;
                let (arrived, stopped) = (Arc::clone(&all.arrived), Arc::clone(&all.stopped));
                all.threads.push(std::thread::spawn(move || take_streams(&tcp, &arrived, &stopped)));
                let (arrived, stopped) = (Arc::clone(&all.arrived), Arc::clone(&all.stopped));
                all.threads.push(std::thread::spawn(move || take_datagrams(&udp, &arrived, &stopped)));
            }
        }
        Ok(all)
    }

    /// Whether this was received, within the time.
    pub fn received(&self, token: &[u8], within: Duration) -> bool {
        let step = Duration::from_millis(5);
        let mut left = within;
        loop {
            if self.arrived.lock().unwrap_or_else(PoisonError::into_inner).contains(token) {
                return true;
            }
            let Some(rest) = left.checked_sub(step) else { return false };
            left = rest;
            std::thread::sleep(step);
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

/// How long a listener waits before it looks whether it shall stop.
const TURN: Duration = Duration::from_millis(20);

type Arrived = Mutex<BTreeSet<Vec<u8>>>;

fn keep(arrived: &Arrived, token: &[u8]) {
    arrived.lock().unwrap_or_else(PoisonError::into_inner).insert(token.to_vec());
}

fn take_streams(listener: &TcpListener, arrived: &Arrived, stopped: &AtomicBool) {
    let mut open: Vec<TcpStream> = Vec::new();
    while !stopped.load(Ordering::Relaxed) {
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                open.push(stream);
            }
        }
        let mut buffer = [0; 64];
        open.retain_mut(|stream| match stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                keep(arrived, buffer.get(..length).unwrap_or_default());
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn take_datagrams(socket: &UdpSocket, arrived: &Arrived, stopped: &AtomicBool) {
    let mut buffer = [0; 64];
    while !stopped.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let token = buffer.get(..length).unwrap_or_default();
            keep(arrived, token);
            let _unanswered = socket.send_to(token, from);
        }
    }
}
