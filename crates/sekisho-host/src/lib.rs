//! What a process is: pidfd, /proc, the digest of its executable, its unit, and which process owns a connection.

mod attestors;
mod basis;
mod descriptors;
mod digest;
mod family;
mod holder_search;
mod holders;
mod inet_diag;
mod kernel_calls;
mod kernel_state;
mod measure;
mod measured_files;
mod netlink;
pub mod proc_text;
mod process;
mod sockets;
mod unix_diag;

pub use basis::ExecutableId;
pub use digest::{DigestCache, file_digest, own_digest};
pub use family::is_family;
pub use holder_search::{Descriptor, Holders};
pub use holders::{Hold, hold_of, holders_like, socket_holders};
pub use inet_diag::{TcpSocket, TcpState, tcp_listeners, tcp_socket, tcp_socket_with_cookie};
pub use kernel_state::{KernelState, kernel_state};
pub use measure::{Measurement, is_unchanged, measure};
pub use process::{HostError, Process, own_uid, signal_terminate, traces_others};
pub use sockets::{Owner, Ownership, cookie_of};
pub use unix_diag::{UnixSocket, unix_peer};

/// Says that this test cannot run here, and why. `make test` lists these lines at its end.
#[cfg(test)]
fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Past the harness, which shows nothing of a test that passes.
    let line = format!("\nskipped: {test}: {why}\n");
    let _unread = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}
