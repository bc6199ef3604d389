//! Leaves of changes on their way from the state into the log: how many wait, and whether the log takes them
//! (decisions/0042).
//!
//! A change is durable with its leaf, so it is answered before the log has that leaf. While the log takes none, changes
//! are refused: what waits is bounded. What takes a right away is not refused before very much waits.

use std::time::Duration;

use sekisho_runtime::instant;
use sekisho_store::StoreError;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;

/// The log is stuck if it took no leaf for so long while some wait. A change waits for capacity as long.
const STUCK: Duration = Duration::from_secs(15);
/// Leaves that wait at most, about: then a change waits for capacity.
const MOST: i64 = 65_536;

pub(crate) struct Outbox {
    /// Held while leaves go into the log.
    pub draining: Mutex<()>,
    /// Rings when leaves wait.
    pub filled: Notify,
    state: watch::Sender<State>,
    patience: Duration,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Below zero for a moment, when a leaf is in the log before its change has been counted here.
    waiting: i64,
    /// When the log last took leaves, or the first of these came.
    moved: Instant,
    /// Whether the log refused leaves when they were last offered.
    is_refused: bool,
}

impl State {
    fn is_stuck(&self, patience: Duration) -> bool {
        self.is_refused || (self.waiting > 0 && self.moved.elapsed() >= patience)
    }
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self::with_patience(STUCK)
    }

    fn with_patience(patience: Duration) -> Self {
        let state = State { waiting: 0, moved: instant(), is_refused: false };
        Self { draining: Mutex::default(), filled: Notify::new(), state: watch::channel(state).0, patience }
    }

    /// So many wait before the first commit is counted.
    pub(crate) fn begins_with(&self, leaves: u64) {
        let waiting = i64::try_from(leaves).unwrap_or(i64::MAX);
        self.state.send_modify(|state| *state = State { waiting, moved: instant(), is_refused: false });
        self.filled.notify_one();
    }

    /// Leaves were committed.
    pub(crate) fn added(&self, leaves: u32) {
        let now = instant();
        self.state.send_modify(|state| {
            if state.waiting <= 0 {
                state.moved = now;
            }
            state.waiting += i64::from(leaves);
        });
        self.filled.notify_one();
    }

    /// Leaves are in the log, and wait no longer.
    pub(crate) fn logged(&self, leaves: usize) {
        let (leaves, moved) = (i64::try_from(leaves).unwrap_or(i64::MAX), instant());
        self.state.send_modify(|state| *state = State { waiting: state.waiting - leaves, moved, is_refused: false });
    }

    /// Whether the log took leaves that were offered to it.
    pub(crate) fn offered(&self, is_taken: bool) {
        self.state.send_modify(|state| state.is_refused = !is_taken);
    }

    /// Whether leaves wait that the log does not take.
    pub(crate) fn is_stuck(&self) -> bool {
        self.state.borrow().is_stuck(self.patience)
    }

    /// Waits until a change with a leaf may be written.
    pub(crate) async fn wait_for_capacity(&self, revokes: bool) -> Result<(), StoreError> {
        let mut states = self.state.subscribe();
        let waiting = states.borrow().waiting;
        if !revokes && self.is_stuck() {
            return Err(StoreError::OutboxWaits(waiting));
        }
        let waited = tokio::time::timeout(self.patience, states.wait_for(|state| state.waiting < MOST)).await;
        waited.map(drop).map_err(|_| StoreError::OutboxWaits(waiting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn law_l5_a_full_outbox_refuses_changes() {
        let outbox = Outbox::with_patience(SHORT);
        let has_capacity = async |revokes| outbox.wait_for_capacity(revokes).await.is_ok();
        assert!(has_capacity(false).await);
        outbox.added(2);
        assert!(has_capacity(false).await, "the log is on its way");
        tokio::time::sleep(SHORT).await;
        assert!(outbox.is_stuck() && !has_capacity(false).await && has_capacity(true).await);
        outbox.logged(1);
        assert!(has_capacity(false).await, "one went: the log works");
        outbox.offered(false);
        assert!(!has_capacity(false).await && has_capacity(true).await);
        outbox.logged(1);
        outbox.offered(true);
        tokio::time::sleep(SHORT).await;
        assert!(has_capacity(false).await, "nothing waits");
    }

    #[tokio::test]
    async fn writers_wait_for_outbox_capacity() {
        let outbox = Outbox::with_patience(SHORT);
        outbox.added(u32::try_from(MOST).unwrap());
        let refused = outbox.wait_for_capacity(true).await.unwrap_err().to_string();
        assert!(refused.starts_with("65536 records"), "{refused}");
        let later = async {
            tokio::time::sleep(SHORT / 4).await;
            outbox.logged(1);
        };
        assert!(tokio::join!(outbox.wait_for_capacity(true), later).0.is_ok());
        // A leaf may be in the log before it is counted as waiting.
        let early = Outbox::with_patience(Duration::ZERO);
        early.logged(1);
        early.added(1);
        assert!(!early.is_stuck());
    }
}
