use std::time::{SystemTime, UNIX_EPOCH};

use sekisho_types::UnixTime;
use tokio::time::Instant;

use crate::Machine;

/// The time of day on this machine. Rules never call this: they are given its result.
pub fn now() -> UnixTime {
    if let Some(machine) = Machine::current() {
        return machine.time_of_day();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A moment of this machine, to measure how long something takes: no one sets this clock. On a simulated machine it is
/// the runtime's own, whose time is paused.
pub fn instant() -> Instant {
    Instant::now()
}
