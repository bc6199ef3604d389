//! Streams and listeners: the kernel's, or those of a simulated network.

mod fabric;
mod link;
mod simulated;
mod tcp;
mod unix;

#[cfg(test)]
mod tests;

pub use fabric::Fabric;
pub use link::PeerCredentials;
pub use tcp::{TcpListener, TcpStream};
pub use unix::{UnixListener, UnixStream};
