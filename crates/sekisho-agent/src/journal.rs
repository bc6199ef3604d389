//! Refusals made on this node, on their way into the spool (law L5).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sekisho_disk::Spool;
use sekisho_events::{NodeEvent, RefusalId};
use sekisho_net::Rates;
use sekisho_runtime::{now, time_ordered_id};
use sekisho_types::UnixTime;

/// Characters of a caller's request that a record quotes.
const MAX_TEXT: usize = 500;
/// How long refusals are counted before the count is kept.
const COUNT_FOR: Duration = Duration::from_secs(2);

pub(crate) struct Journal {
    pub spool: Spool,
    /// Refusals that one user's processes put into the spool.
    refusals: Rates<u32>,
    /// The same for what they had judged: others' tokens must not use up what their own refusals need.
    verdicts: Rates<u32>,
    /// Refusals beyond that, for the spool to count.
    unrecorded: AtomicU64,
    /// Rings when there is one.
    uncounted: tokio::sync::Notify,
}

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Own,
    /// A verdict on what another process made.
    Verdict,
}

impl Journal {
    pub(crate) fn new(spool: Spool) -> Self {
        Self {
            spool,
            refusals: Rates::new(5.0, 50.0),
            verdicts: Rates::new(5.0, 50.0),
            unrecorded: AtomicU64::new(0),
            uncounted: tokio::sync::Notify::new(),
        }
    }

    /// Records what a process was refused, and returns the record's id, if there is one: one user who asks without end
    /// fills neither the spool nor what the server keeps, and beyond a rate refusals are counted only.
    pub(crate) async fn refused(
        &self,
        kind: Kind,
        uid: u32,
        what: &str,
        event: impl FnOnce(RefusalId, UnixTime, String) -> NodeEvent,
    ) -> Option<String> {
        let at = now();
        let rate = if kind == Kind::Verdict { &self.verdicts } else { &self.refusals };
        if !rate.take(uid, at) {
            if self.unrecorded.fetch_add(1, Ordering::Relaxed) == 0 {
                self.uncounted.notify_one();
            }
            return None;
        }
        let id = RefusalId::new(time_ordered_id(at));
        // It may quote what the caller sent.
        let record = event(id, at, quoted(what)).encode();
        let spool = self.spool.clone();
        let appended = sekisho_runtime::blocking(move || spool.append(&[record.into()])).await;
        let is_kept = matches!(appended, Ok(Ok(1)));
        if !is_kept {
            tracing::error!(%id, "a refusal was not spooled; it is counted as lost");
        }
        is_kept.then(|| id.to_string())
    }

    /// Counts refusals that were not recorded one by one, while there are any.
    pub(crate) async fn run_refusal_count(&self) {
        loop {
            self.uncounted.notified().await;
            tokio::time::sleep(COUNT_FOR).await;
            self.count_unrecorded().await;
        }
    }

    /// Hands the count of refusals that were not recorded one by one to the spool.
    pub(crate) async fn count_unrecorded(&self) {
        let count = self.unrecorded.swap(0, Ordering::Relaxed);
        let spool = self.spool.clone();
        if count > 0 && !matches!(sekisho_runtime::blocking(move || spool.count_lost(count)).await, Ok(Ok(()))) {
            tracing::error!(count, "the count of refusals was not written to disk; it is kept in memory");
        }
    }
}

/// As much of a text as a record has.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use sekisho_events::CallRefused;

    use super::*;

    #[tokio::test]
    async fn law_l5_refusals_beyond_a_users_rate_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(Spool::open(&folder.path().join("spool"), 1 << 20, "00").unwrap());
        let event = |id, at, what| NodeEvent::CallRefused(CallRefused { id, at, what, pid: 1, uid: None, call: None });
        let mut kept = 0;
        for _ in 0..70 {
            kept += u64::from(journal.refused(Kind::Own, 7, "no", event).await.is_some());
        }
        assert!((50..60).contains(&kept), "{kept}");
        // Neither another user's, nor verdicts on what others made.
        assert!(journal.refused(Kind::Own, 8, "no", event).await.is_some());
        assert!(journal.refused(Kind::Verdict, 7, "no", event).await.is_some());
        journal.count_unrecorded().await;
        assert_eq!(journal.spool.depth(), (kept + 2, 70 - kept));
        let long = "é".repeat(MAX_TEXT + 1);
        assert_eq!(quoted(&long).chars().count(), MAX_TEXT);
    }
}
