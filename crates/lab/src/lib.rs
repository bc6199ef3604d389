//! Everything that needs more than one real part: interop, attacks, faults, and the shared test vectors.
//! The tests are under `tests/it`; here is what their programs share.

pub mod monitoring;
pub mod sim;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

/// A connection from a chosen address and port.
pub fn dial_from(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &from)?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

/// Ends a connection by RST, which frees its port at once.
pub fn reset(connection: TcpStream) -> io::Result<()> {
    Ok(set_socket_linger(&connection, Some(Duration::ZERO))?)
}
