//! What a process is: pidfd, /proc, the digest of its executable, and which process owns a connection.

mod digest;
mod measure;
mod names;
mod process;
mod sockets;

pub use digest::{DigestCache, file_digest};
pub use measure::{ATTESTOR, ExecutableId, Measurement, measure};
pub use process::{HostError, Process};
pub use sockets::owns_tcp_peer;
