//! What a process is: pidfd, /proc, the digest of its executable, and which process owns a connection.

mod digest;
mod family;
mod inet_diag;
mod measure;
mod netlink;
pub mod proc_text;
mod process;
mod sockets;

pub use digest::{DigestCache, file_digest};
pub use family::is_family;
pub use inet_diag::{TcpSocket, TcpState, tcp_listeners, tcp_socket, tcp_socket_with_cookie};
pub use measure::{ATTESTOR, ExecutableId, Measurement, measure};
pub use process::{HostError, Process, signal_terminate};
pub use sockets::{Owner, Ownership, cookie_of};
