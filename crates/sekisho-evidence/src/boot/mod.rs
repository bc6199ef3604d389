//! The firmware's event log: what a machine measured while it booted, and what that makes of its PCRs.

mod facts;
mod log;
mod replay;

pub use facts::{BootFacts, measured_command_line};
pub use log::{Event, EventLog, Format};
pub use replay::ReplayError;

#[cfg(test)]
mod tests;
