//! Detects that the server's whole folder was restored, for example from a file system's snapshot. State and log match
//! each other, so the server itself cannot see it. Its agents can: each reports, when it connects, which revision it
//! has applied. A revocation concerns SVIDs of earlier revisions, so a server that used a revision twice would miss
//! SVIDs (law L6): it jumps beyond the revisions that agents report.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sekisho_types::Revision;
use tokio::time::Instant;

/// Revisions that an agent can be ahead: beyond all restores that one state may have lost. An agent that claims more
/// lies.
const PLAUSIBLE: u64 = 1 << 40;
/// SQLite counts up to 2^63.
const COUNTABLE: u64 = 1 << 61;
/// One jump leads beyond all honest agents; another so soon would be a lie that renews revocations.
const JUMP_EVERY: Duration = Duration::from_secs(3600);

pub(crate) struct RollbackDetector {
    /// Revocations of later revisions were made since this server started.
    pub started: Revision,
    jumped: Mutex<Option<Instant>>,
}

impl RollbackDetector {
    pub(crate) const fn new(started: Revision) -> Self {
        Self { started, jumped: Mutex::new(None) }
    }

    /// Whether a jump is due now that an agent has applied `applied`, while the state is at `held`.
    pub(crate) fn due(&self, applied: u64, held: Revision, now: Instant) -> bool {
        if applied <= held.0 || applied - held.0 > PLAUSIBLE || applied > COUNTABLE {
            return false;
        }
        let mut jumped = self.jumped.lock().unwrap_or_else(PoisonError::into_inner);
        let due = jumped.is_none_or(|at| now.duration_since(at) >= JUMP_EVERY);
        if due {
            *jumped = Some(now);
        }
        due
    }

    /// A jump that failed is tried again at the next report.
    pub(crate) fn failed(&self) {
        *self.jumped.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use sekisho_runtime::instant;

    use super::*;

    #[test]
    fn a_jump_needs_a_plausible_revision() {
        let rollback = RollbackDetector::new(Revision(10));
        let (held, now) = (Revision(10), instant());
        for applied in [0, 9, 10, 11 + PLAUSIBLE, u64::MAX, u64::MAX - 1] {
            assert!(!rollback.due(applied, held, now), "{applied}");
        }
        assert!(!rollback.due(COUNTABLE + 1, Revision(COUNTABLE), now));
        assert!(rollback.due(11, held, now));
        assert!(!rollback.due(1 << 39, held, now), "a liar does not renew revocations again and again");
        assert!(rollback.due(1 << 39, held, now + JUMP_EVERY));
        rollback.failed();
        assert!(rollback.due(11, held, now));
    }
}
