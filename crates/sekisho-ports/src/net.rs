//! Streams and listeners: the kernel's, or those of a simulated network.

mod stream;
mod tcp;
mod unix;

pub use tcp::{TcpListener, TcpStream};
pub use unix::{UnixListener, UnixStream};
