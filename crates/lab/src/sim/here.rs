//! The machine on which the running script is.

use std::time::Duration;

use sekisho_ports::Machine;

/// The time of the simulation.
pub(super) fn elapsed() -> Duration {
    Machine::current().map_or(Duration::ZERO, |machine| machine.elapsed())
}

/// A number below `below`, by the machine's seed.
pub(super) fn random(below: u64) -> u64 {
    Machine::current().map_or(0, |machine| machine.random()) % below.max(1)
}
