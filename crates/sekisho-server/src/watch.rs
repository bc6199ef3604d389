//! The delta stream to one agent: first everything that it may know, then each change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::{Entry, Node, Standing};
use sekisho_proto::types::permission_denied_details::Reason;
use sekisho_proto::{
    REVOCATIONS_PER_MESSAGE, bundle_to_wire, entry_to_wire, reason_status, revocation_to_wire, server as wire,
};
use sekisho_runtime::now;
use sekisho_store::PolicyRecord;
use sekisho_types::{EntryId, Revision, SpiffeId, UnixTime};
use tokio::sync::{broadcast, mpsc};
use tonic::Status;

use crate::domain::Shared;
use crate::grpc::status::denied;

/// What one agent was sent.
struct Sent {
    entries: BTreeMap<EntryId, Arc<Entry>>,
    bundle_sequence: Option<u64>,
    policy_revision: u64,
    /// Of the newest revocation.
    revoked: Revision,
}

/// Feeds `to` until the agent goes, is banned or shows an SVID that was replaced (laws L6 and L12).
pub(crate) async fn feed(
    domain: Shared,
    agent: SpiffeId,
    (serial, ends): (String, UnixTime),
    changes: broadcast::Receiver<()>,
    to: mpsc::Sender<Result<wire::WatchResponse, Status>>,
) {
    let mut changes = changes;
    let mut sent =
        Sent { entries: BTreeMap::new(), bundle_sequence: None, policy_revision: 0, revoked: Revision::default() };
    let mut first = true;
    loop {
        let node = domain.view.read(|state| state.nodes.get(&agent).cloned());
        let standing = Node::standing(node.as_deref(), &serial);
        let (Some(node), Standing::Good) = (node, standing) else {
            let _gone = to.send(Err(denied(standing))).await;
            return;
        };
        let (message, changed) = sent.next(&domain, &node, first);
        if changed || first {
            for part in parts(message) {
                if to.send(Ok(part)).await.is_err() {
                    return;
                }
            }
        }
        first = false;
        // Lagging is no loss: what is sent is the difference to the newest state.
        tokio::select! {
            heard = changes.recv() => if matches!(heard, Err(broadcast::error::RecvError::Closed)) { return },
            () = to.closed() => return,
            // A stream lives no longer than the SVID that opened it.
            () = tokio::time::sleep(Duration::from_secs(u64::try_from(ends.seconds_since(now())).unwrap_or(0))) => {
                let _gone = to.send(Err(reason_status("the agent's SVID has expired", Reason::AgentExpired))).await;
                return;
            }
        }
    }
}

/// Entries in one message at most: far below the four mebibytes that clients of gRPC read.
const PART: usize = 500;

/// One message after the other, the last without `more`.
fn parts(mut whole: wire::WatchResponse) -> Vec<wire::WatchResponse> {
    let mut entries = std::mem::take(&mut whole.entries).into_iter();
    let mut revocations = std::mem::take(&mut whole.revocations).into_iter();
    let mut out = Vec::new();
    loop {
        let part = wire::WatchResponse {
            entries: entries.by_ref().take(PART).collect(),
            revocations: revocations.by_ref().take(REVOCATIONS_PER_MESSAGE).collect(),
            ..whole
        };
        whole = wire::WatchResponse { revision: part.revision, complete: part.complete, ..Default::default() };
        let more = entries.len() > 0 || revocations.len() > 0;
        out.push(wire::WatchResponse { more, ..part });
        if !more {
            return out;
        }
    }
}

impl Sent {
    fn next(&mut self, domain: &Shared, node: &Node, complete: bool) -> (wire::WatchResponse, bool) {
        let (revision, entries, bundle, policy, revoked) = domain.view.read(|state| {
            let entries = state.authorized(node, &domain.identity.server_id, now());
            (state.revision, entries, state.bundle.clone(), state.policy.clone(), state.revocations.clone())
        });
        let entries: BTreeMap<EntryId, Arc<Entry>> = entries.into_iter().map(|e| (e.id.clone(), e)).collect();
        let fresh = entries.iter().filter(|(id, entry)| self.entries.get(*id) != Some(*entry));
        let fresh: Vec<_> = fresh.map(|(_, entry)| entry_to_wire(entry)).collect();
        let removed = self.entries.keys().filter(|id| !entries.contains_key(*id));
        let removed: Vec<String> = removed.map(|id| id.as_str().to_owned()).collect();
        let bundle_changed = self.bundle_sequence != bundle.sequence;
        let policy = policy.filter(|policy| policy.revision != self.policy_revision);
        let revoked: Vec<_> = revoked.iter().filter(|one| one.revision > self.revoked).collect();
        let newest = revoked.iter().map(|one| one.revision).max();
        let revocations: Vec<_> = revoked.into_iter().map(revocation_to_wire).collect();
        let changed =
            !revocations.is_empty() || !fresh.is_empty() || !removed.is_empty() || bundle_changed || policy.is_some();
        self.entries = entries;
        self.revoked = newest.unwrap_or(self.revoked);
        self.bundle_sequence = bundle.sequence;
        self.policy_revision = policy.as_ref().map_or(self.policy_revision, |policy| policy.revision);
        let message = wire::WatchResponse {
            revision: revision.0,
            complete,
            entries: fresh,
            removed_entry_ids: removed,
            bundle: bundle_changed.then(|| bundle_to_wire(&bundle)),
            policy: policy.map(|policy| policy_to_wire(&policy)),
            more: false,
            revocations,
        };
        (message, changed)
    }
}

fn policy_to_wire(policy: &PolicyRecord) -> wire::Policy {
    let file = |(name, text): &(String, String)| wire::PolicyFile { name: name.clone(), text: text.clone() };
    wire::Policy { revision: policy.revision, files: policy.files.iter().map(file).collect() }
}
