//! Revocations in force: streamed by the agent, kept on disk over a restart, checked for each connection and request.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use sekisho_disk::write_atomic;
use sekisho_identity::{LeafFacts, Revocations};
use sekisho_proto::node::{WatchRevocationsRequest, WatchRevocationsResponse, sidecar_client::SidecarClient};
use sekisho_proto::{revocation_from_wire, revocations_from_bytes, revocations_to_bytes};
use sekisho_runtime::now;
use sekisho_sdk::AgentChannel;
use tokio::sync::watch;
use tonic::Status;

/// How long a connection waits for the agent's first word.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct RevocationKeeper {
    current: ArcSwap<Revocations>,
    path: PathBuf,
    /// Whether the agent has sent those in force in this run: until then each peer counts as revoked (law L3). An agent that
    /// cannot reach its server sends the last that it heard of.
    is_complete: AtomicBool,
    /// Rings after each change, so that open connections are judged again (law L12).
    changed: watch::Sender<u64>,
}

impl RevocationKeeper {
    /// With those that an earlier run kept, which the agent may have forgotten.
    pub(crate) fn open(path: PathBuf) -> Self {
        let kept = match std::fs::read(&path) {
            Ok(bytes) => revocations_from_bytes(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Revocations::default()),
            Err(error) => Err(error.to_string()),
        };
        let kept = kept.unwrap_or_else(|reason| {
            tracing::error!(reason, "the revocations on disk are not readable; those that the agent sends count");
            Revocations::default()
        });
        let (current, is_complete) = (ArcSwap::from_pointee(kept), AtomicBool::new(false));
        Self { current, path, is_complete, changed: watch::channel(0).0 }
    }

    /// Waits until the agent has sent those in force, but not without end.
    pub(crate) async fn complete(&self) {
        let mut changed = self.changed.subscribe();
        let complete = changed.wait_for(|_| self.is_complete.load(Ordering::Acquire));
        let _late = tokio::time::timeout(PATIENCE, complete).await;
    }

    /// Why the SVID of a peer is refused, if it is.
    pub(crate) fn find(&self, leaf: &LeafFacts) -> Option<String> {
        if !self.is_complete.load(Ordering::Acquire) {
            return Some("which SVIDs are revoked is not known yet: the agent has not sent it".to_owned());
        }
        self.current.load().find(leaf).map(|revocation| format!("the peer's SVID is revoked: {revocation}"))
    }

    /// Returns when the SVID of a peer is revoked, with the reason.
    pub(crate) async fn revoked(&self, leaf: &LeafFacts) -> String {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(why) = self.find(leaf) {
                return why;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// In force first, then on disk.
    fn take(&self, message: &WatchRevocationsResponse) {
        let mut all = (**self.current.load()).clone();
        all.prune(now());
        let mut changed = false;
        for revocation in &message.revocations {
            match revocation_from_wire(revocation) {
                Ok(revocation) => changed |= all.add(revocation),
                Err(error) => {
                    tracing::error!(%error, "a revocation is not understood and not enforced; update this sidecar")
                }
            }
        }
        let in_force = all.len();
        let bytes = revocations_to_bytes(&all);
        if changed {
            self.current.store(Arc::new(all));
        }
        let completes = !message.more && !self.is_complete.swap(true, Ordering::AcqRel);
        if changed || completes {
            self.changed.send_modify(|count| *count += 1);
        }
        if !changed {
            return;
        }
        tracing::info!(in_force, "revocations");
        if let Err(error) = write_atomic(&self.path, &bytes) {
            tracing::error!(%error, "the revocations were not kept on disk; a restart without the agent would not know them");
        }
    }
}

/// Follows the agent's stream as long as the sidecar runs.
pub(crate) async fn follow(keeper: Arc<RevocationKeeper>, agent: AgentChannel) {
    loop {
        if let Err(status) = stream(&keeper, &agent).await {
            tracing::debug!(reason = status.message(), "no stream of revocations; those that are known stay in force");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn stream(keeper: &Arc<RevocationKeeper>, agent: &AgentChannel) -> Result<(), Status> {
    let request = WatchRevocationsRequest {};
    let mut messages = SidecarClient::new(agent.clone()).watch_revocations(request).await?.into_inner();
    while let Some(message) = messages.message().await? {
        let taker = keeper.clone();
        let _taken = tokio::task::spawn_blocking(move || taker.take(&message)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sekisho_identity::{Revocation, Revoked};
    use sekisho_proto::revocation_to_wire;
    use sekisho_types::{Claims, Revision, SpiffeId, UnixTime};

    use super::*;

    fn leaf(path: &str) -> LeafFacts {
        LeafFacts {
            spiffe_id: SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap(),
            not_before: now().plus_seconds(-60),
            not_after: now().plus_seconds(60),
            serial: "01".into(),
            claims: Claims::default(),
            issuance: None,
            public_key: vec![],
        }
    }

    fn message(path: &str, until: UnixTime) -> WatchRevocationsResponse {
        let revocation = Revocation {
            what: Revoked::SpiffeId(leaf(path).spiffe_id),
            revision: Revision(2),
            at: now(),
            until,
            reason: "was revoked".into(),
        };
        WatchRevocationsResponse { revocations: vec![revocation_to_wire(&revocation)], more: false }
    }

    #[test]
    fn law_l14_revocations_survive_a_restart_and_no_peer_is_accepted_before_the_agent_has_sent_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revocations");
        let keeper = RevocationKeeper::open(path.clone());
        assert!(keeper.find(&leaf("/a")).is_some(), "nothing is known yet");
        let mut changes = keeper.changed.subscribe();
        keeper.take(&WatchRevocationsResponse::default());
        assert!(changes.has_changed().unwrap() && keeper.find(&leaf("/a")).is_none());
        keeper.take(&message("/a", now().plus_seconds(60)));
        changes.mark_unchanged();
        // A stream that begins again takes nothing back.
        keeper.take(&WatchRevocationsResponse::default());
        assert!(!changes.has_changed().unwrap());
        keeper.take(&message("/b", now().plus_seconds(60)));
        assert!(changes.has_changed().unwrap());
        let again = RevocationKeeper::open(path.clone());
        again.take(&WatchRevocationsResponse::default());
        assert!(again.find(&leaf("/a")).unwrap().contains("`spiffe://example.org/a` was revoked (revision 2)"));
        assert!(again.find(&leaf("/b")).is_some() && again.find(&leaf("/c")).is_none());
        std::fs::write(&path, b"\xff").unwrap();
        let damaged = RevocationKeeper::open(path);
        assert!(damaged.find(&leaf("/c")).is_some());
        damaged.take(&message("/a", now().plus_seconds(60)));
        assert!(damaged.find(&leaf("/a")).is_some() && damaged.find(&leaf("/c")).is_none());
    }

    #[test]
    fn those_that_no_svid_can_need_any_more_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = RevocationKeeper::open(folder.path().join("revocations"));
        keeper.take(&message("/old", now().plus_seconds(-7200)));
        keeper.take(&message("/new", now().plus_seconds(60)));
        assert!(keeper.find(&leaf("/old")).is_none() && keeper.find(&leaf("/new")).is_some());
    }
}
