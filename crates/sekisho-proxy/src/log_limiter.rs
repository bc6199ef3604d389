//! Limits log lines that a peer can cause: the first of a kind is logged at once, the others as a count at intervals.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Between two counts of one kind.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
/// Kinds that are kept apart; peers choose parts of them.
const MAX_KINDS: usize = 256;
/// Characters of a reason that tell kinds apart.
const MAX_REASON: usize = 200;

/// What happened to whom, and why: the rule of a denial, or the reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub what: &'static str,
    pub peer: String,
    pub why: String,
}

/// How many of each kind came since the last count.
#[derive(Default)]
pub(crate) struct LogLimiter {
    since: Mutex<BTreeMap<Kind, u64>>,
    came: Notify,
}

impl LogLimiter {
    /// Counts `count` of a kind. True if it is the first for a while, which is logged at once.
    pub(crate) fn is_first(&self, what: &'static str, peer: &str, why: &str, count: u64) -> bool {
        let mut since = self.since();
        let mut kind = Kind { what, peer: peer.to_owned(), why: why.chars().take(MAX_REASON).collect() };
        if since.len() >= MAX_KINDS && !since.contains_key(&kind) {
            kind = Kind { what, peer: "other peers".to_owned(), why: "various".to_owned() };
        }
        let is_first = !since.contains_key(&kind);
        if is_first {
            since.insert(kind, 0);
            self.came.notify_one();
        } else if let Some(counted) = since.get_mut(&kind) {
            *counted += count;
        }
        is_first
    }

    /// What came since the last call. A kind of which nothing came is forgotten: its next is a first one again.
    pub(crate) fn take(&self) -> Vec<(Kind, u64)> {
        let mut since = self.since();
        since.retain(|_, count| *count > 0);
        since.iter_mut().map(|(kind, count)| (kind.clone(), std::mem::take(count))).collect()
    }

    /// Logs the counts as long as the sidecar runs.
    pub(crate) async fn log_counts(&self) {
        loop {
            self.came.notified().await;
            while !self.since().is_empty() {
                tokio::time::sleep(INTERVAL).await;
                self.log();
            }
        }
    }

    pub(crate) fn log(&self) {
        for (Kind { what, peer, why }, count) in self.take() {
            tracing::info!(what, peer, why, count, "more refusals of the same kind");
        }
    }

    fn since(&self) -> MutexGuard<'_, BTreeMap<Kind, u64>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l9_a_flood_of_denials_is_counted() {
        let log_limiter = LogLimiter::default();
        let firsts = (0..10_000).filter(|_| log_limiter.is_first("denied", "a", "line 4", 1)).count();
        assert_eq!(firsts, 1);
        assert!(log_limiter.is_first("denied", "b", "line 4", 1) && log_limiter.is_first("denied", "a", "line 5", 1));
        let kind = Kind { what: "denied", peer: "a".into(), why: "line 4".into() };
        assert_eq!(log_limiter.take(), [(kind, 9_999)]);
        assert!(!log_limiter.is_first("denied", "a", "line 4", 1), "the flood goes on");
        assert_eq!(log_limiter.take().len(), 1);
        assert!(log_limiter.take().is_empty());
        assert!(log_limiter.is_first("denied", "a", "line 4", 1), "it is over, and this is another one");
        let firsts = (0..10_000).filter(|reason| log_limiter.is_first("refused", "a", &format!("{reason}"), 1)).count();
        assert_eq!(firsts, MAX_KINDS);
    }
}
