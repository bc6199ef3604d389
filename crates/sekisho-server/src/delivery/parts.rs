//! An update as messages: each is made, and judged, when the stream can take it.

use std::collections::VecDeque;
use std::sync::Arc;

use sekisho_identity::{Entry, Revocation};
use sekisho_proto::{REVOCATIONS_PER_MESSAGE, bundle_to_wire, entry_to_wire, revocation_to_wire, server as wire};
use sekisho_store::PolicyRecord;

use super::catch_up::{EntriesUpdate, Update};

/// Entries in one message at most: far below the four mebibytes that clients of gRPC read.
const PART: usize = 500;

pub(super) struct Parts {
    entries: VecDeque<Arc<Entry>>,
    revocations: VecDeque<Arc<Revocation>>,
    /// All else, in the first message.
    rest: Option<wire::WatchResponse>,
    revision: u64,
    complete: bool,
    held: Vec<u8>,
}

impl Parts {
    pub(super) fn of(update: Update) -> Self {
        let Update { revision, entries, bundle, policy, revocations, epoch, held } = update;
        let EntriesUpdate { complete, put, removed, removed_parents } = entries;
        let rest = wire::WatchResponse {
            removed_entry_ids: removed.iter().map(|id| id.as_str().to_owned()).collect(),
            removed_parent_ids: removed_parents.iter().map(ToString::to_string).collect(),
            bundle: bundle.as_deref().map(bundle_to_wire),
            policy: policy.as_deref().map(policy_to_wire),
            epoch: epoch.map(|epoch| epoch.0.to_vec()).unwrap_or_default(),
            ..Default::default()
        };
        let held = held.map(|held| held.as_bytes().to_vec()).unwrap_or_default();
        let (entries, revocations) = (put.into(), revocations.into());
        Self { entries, revocations, rest: Some(rest), revision: revision.0, complete, held }
    }

    /// The next message. Entries that `may_have` denies by now are left out; what became of them follows.
    pub(super) fn next(&mut self, may_have: impl Fn(&Entry) -> bool) -> Option<wire::WatchResponse> {
        let first = self.rest.take();
        if first.is_none() && self.entries.is_empty() && self.revocations.is_empty() {
            return None;
        }
        let entries: Vec<_> = self.entries.drain(..self.entries.len().min(PART)).collect();
        let kept: Vec<_> = entries.iter().filter(|entry| may_have(entry)).map(|entry| entry_to_wire(entry)).collect();
        if kept.len() < entries.len() {
            // It would not hold what was counted.
            self.held.clear();
        }
        let revocations = self.revocations.drain(..self.revocations.len().min(REVOCATIONS_PER_MESSAGE));
        let revocations = revocations.map(|revocation| revocation_to_wire(&revocation)).collect();
        let more = !self.entries.is_empty() || !self.revocations.is_empty();
        Some(wire::WatchResponse {
            revision: self.revision,
            complete: self.complete,
            entries: kept,
            more,
            revocations,
            held_sha256: if more { vec![] } else { std::mem::take(&mut self.held) },
            ..first.unwrap_or_default()
        })
    }
}

fn policy_to_wire(policy: &PolicyRecord) -> wire::Policy {
    let file = |(name, text): &(String, String)| wire::PolicyFile { name: name.clone(), text: text.clone() };
    wire::Policy { revision: policy.revision, files: policy.files.iter().map(file).collect() }
}
