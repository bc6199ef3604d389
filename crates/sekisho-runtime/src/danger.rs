//! What weakens safety in this process (law L16).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Its lines are printed whatever the filter of the log is.
pub(crate) const TARGET: &str = "danger";

static IN_FORCE: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// Prints that `name` is in force and what that means, and keeps it for this process's status.
pub fn danger(name: &'static str, meaning: &str) {
    IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
    tracing::warn!(target: TARGET, "{name}: {meaning}");
}

/// All that are in force in this process.
pub fn dangers() -> Vec<&'static str> {
    IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
}
