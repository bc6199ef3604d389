//! Simulated machines and the network between them.

mod fabric;
mod link;
mod listener;
mod machine;
mod mix;
mod stream;

#[cfg(test)]
mod tests;

pub use fabric::Fabric;
pub(crate) use listener::SimulatedListener;
pub use machine::{Machine, MachineGuard};
pub(crate) use stream::SimulatedStream;
