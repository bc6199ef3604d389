//! What is known of policies and of decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sekisho_proxy::Outcome;
use sekisho_types::Digest;

use super::policies::Rules;
use super::request::Request;

/// A decision that a sidecar was asked for.
pub(super) struct Asked {
    pub request: Request,
    /// The sidecar that decides.
    pub by: String,
    /// The SPIFFE ID of who asks.
    pub subject: String,
    pub at: Duration,
    /// The newest policy revision that the sidecar has held by then.
    pub held: Option<u64>,
    /// The outcome, and when the sidecar had it: a denial is on disk then.
    pub outcome: Option<(Outcome, Duration)>,
    /// When it was cut, because the policy no longer allowed it.
    pub cut: Option<Duration>,
}

/// What is known of policies and of decisions.
#[derive(Default)]
pub(super) struct Decisions {
    /// The policies that the operator sent, also those of which no answer came.
    pub rules: BTreeMap<Digest, Rules>,
    /// What each revision is that anyone has seen.
    pub contents: BTreeMap<u64, Digest>,
    /// Revisions in the order in which the operator heard of them, and when.
    pub acknowledged: Vec<(u64, Duration)>,
    /// When the operator last sent a policy without an answer that says what became of it.
    pub unanswered: Option<Duration>,
    /// The newest revision that each sidecar has held, and may not fall behind.
    pub held: BTreeMap<String, u64>,
    /// The newest revision that each sidecar has ever held.
    pub ever_held: BTreeMap<String, u64>,
    pub asked: Vec<Asked>,
    /// By sidecar: records in its spool, and losses of which the server has not heard.
    pub waiting: BTreeMap<String, (u64, u64)>,
    /// When sidecars stopped.
    pub stopped: BTreeSet<(String, Duration)>,
    /// When a sync failed on a sidecar's disk.
    pub disk_failed: BTreeSet<(String, Duration)>,
    /// Requests so far.
    pub requests: u32,
    /// Policies that were applied since nothing fails.
    pub last: u32,
}

impl Decisions {
    /// Whether a sync failed on the disk of a sidecar in this time.
    pub(super) fn failed_between(&self, name: &str, from: Duration, to: Duration) -> bool {
        self.disk_failed.range((name.to_owned(), from)..=(name.to_owned(), to)).next().is_some()
    }

    /// Whether one ever failed.
    pub(super) fn has_bad_disk(&self, name: &str) -> bool {
        self.failed_between(name, Duration::ZERO, Duration::MAX)
    }
}
