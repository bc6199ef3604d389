//! What a program asks of its machine: the time, randomness, threads for work that blocks, and the network. Each is
//! either the real machine's or, with the feature `simulation`, that of a simulated [`Machine`], which a simulator
//! enters around the runtime of one program.
//!
//! Nothing else in the workspace reads a clock, the operating system's randomness or a listener directly; `clippy.toml`
//! bans it. Only the lab and tests have the feature: a shipped program holds no clock and no randomness that could be
//! set (`cargo xtask layers` checks it).

mod clock;
mod inflow;
mod net;
mod peer;
mod random;
#[cfg(not(any(test, feature = "simulation")))]
mod real;
#[cfg(any(test, feature = "simulation"))]
mod simulation;
mod work;

pub use clock::{instant, now};
pub use inflow::Inflow;
pub use net::{TcpListener, TcpStream, UnixListener, UnixStream};
pub use peer::PeerCredentials;
pub use random::{random_bytes, random_id};
#[cfg(not(any(test, feature = "simulation")))]
use real as simulation;
pub use simulation::Machine;
#[cfg(any(test, feature = "simulation"))]
pub use simulation::{Fabric, MachineGuard};
pub use work::{apart, blocking};

/// Whether this thread runs a program of a simulated machine. In a shipped program the result is `false` at compile
/// time.
pub fn is_simulated() -> bool {
    Machine::current().is_some()
}
