//! What a program asks of its machine: the time, randomness, threads for work that blocks, and the network. Each is either the real
//! machine's or that of a simulated [`Machine`], which a simulator enters around the runtime of one program.
//!
//! Nothing else in the workspace reads a clock, the operating system's randomness or a listener directly.

mod clock;
mod machine;
mod mix;
mod net;
mod random;
mod work;

pub use clock::now;
pub use machine::Machine;
pub use net::{Fabric, PeerCredentials, TcpListener, TcpStream, UnixListener, UnixStream};
pub use random::random_bytes;
pub use work::blocking;
