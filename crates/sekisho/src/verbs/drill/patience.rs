use std::time::Duration;

/// How long a step may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);
