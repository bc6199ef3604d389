//! Revocations in force: streamed by the agent, and checked for each connection and request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use sekisho_identity::{LeafFacts, Revocations};
use sekisho_proto::node::{WatchRevocationsRequest, WatchRevocationsResponse, sidecar_client::SidecarClient};
use sekisho_proto::revocation_from_wire;
use sekisho_types::UnixTime;
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::agent::AgentChannel;

/// How long a connection waits for the agent's first word.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before the stream is asked for again; longer while it has never been given, or is refused.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Where changed revocations are kept, over a restart.
type SaveRevocations = Box<dyn Fn(&Revocations) + Send + Sync>;

/// The revocations that the agent has sent, and those of an earlier run.
pub struct RevocationKeeper {
    current: ArcSwap<Revocations>,
    keep: SaveRevocations,
    clock: fn() -> UnixTime,
    /// Whether the agent has sent those in force in this run, and has not refused to send more: else each peer counts
    /// as revoked (law L3). An agent that cannot reach its server sends the last that it heard of.
    is_complete: AtomicBool,
    /// Rings after each change, so that open connections are judged again (law L12).
    changed: watch::Sender<u64>,
    /// Rings with each identity of this program, for which the agent sends them.
    pub(crate) identified: Notify,
}

impl RevocationKeeper {
    /// With those that an earlier run kept, which the agent may have forgotten.
    pub fn new(
        kept: Revocations,
        clock: fn() -> UnixTime,
        keep: impl Fn(&Revocations) + Send + Sync + 'static,
    ) -> Self {
        let (current, is_complete) = (ArcSwap::from_pointee(kept), AtomicBool::new(false));
        let (changed, identified) = (watch::channel(0).0, Notify::new());
        Self { current, keep: Box::new(keep), clock, is_complete, changed, identified }
    }

    /// Waits until the agent has sent those in force, but not without end.
    pub async fn complete(&self) {
        let mut changed = self.changed.subscribe();
        let complete = changed.wait_for(|_| self.is_complete.load(Ordering::Acquire));
        let _late = tokio::time::timeout(PATIENCE, complete).await;
    }

    /// Why the SVID of a peer is refused, if it is.
    pub fn find(&self, leaf: &LeafFacts) -> Option<String> {
        if !self.is_complete.load(Ordering::Acquire) {
            return Some("which SVIDs are revoked is not known yet: the agent has not sent it".to_owned());
        }
        self.current.load().find(leaf).map(|revocation| format!("the peer's SVID is revoked: {revocation}"))
    }

    /// Returns when the SVID of a peer is revoked, with the reason.
    pub async fn revoked(&self, leaf: &LeafFacts) -> String {
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

    /// Changes with each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The newest revision that is applied.
    fn newest(&self) -> u64 {
        self.current.load().iter().map(|revocation| revocation.revision.0).max().unwrap_or(0)
    }

    /// The agent sends none any more: open connections end, as what revokes their peers would not be heard.
    fn refused(&self) {
        self.is_complete.store(false, Ordering::Release);
        self.changed.send_modify(|count| *count += 1);
    }

    /// In force first, then kept.
    pub fn take(&self, message: &WatchRevocationsResponse) {
        let mut all = (**self.current.load()).clone();
        all.prune((self.clock)());
        let mut changed = false;
        for revocation in &message.revocations {
            match revocation_from_wire(revocation) {
                Ok(revocation) => changed |= all.add(revocation),
                Err(error) => {
                    tracing::error!(%error, "a revocation is not understood and not enforced; update this program")
                }
            }
        }
        let all = Arc::new(all);
        if changed {
            self.current.store(all.clone());
        }
        let completes = !message.more && !self.is_complete.swap(true, Ordering::AcqRel);
        if changed || completes {
            self.changed.send_modify(|count| *count += 1);
        }
        if !changed {
            return;
        }
        tracing::info!(in_force = all.len(), "revocations");
        (self.keep)(&all);
    }
}

/// Follows the agent's stream without end. An outage leaves what is known in force (law L14). A refusal does not: later
/// revocations would not be heard, so no peer is accepted until the agent sends them again (laws L3 and L12).
pub async fn follow_revocations(keeper: Arc<RevocationKeeper>, agent: AgentChannel) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = keeper.is_complete.load(Ordering::Acquire);
        if let Err(status) = stream(&keeper, &agent).await {
            tracing::debug!(reason = status.message(), "no stream of revocations; those that are known stay in force");
            // As SPIRE's agent, and those of earlier releases.
            if status.code() == Code::Unimplemented && !began {
                tracing::warn!("this agent knows no revocations: a revoked peer is accepted until its SVID expires");
                keeper.take(&WatchRevocationsResponse::default());
            }
            if is_refusal(&status) && began {
                tracing::warn!(reason = status.message(), "the agent refuses to send revocations: no peer is accepted");
                keeper.refused();
            }
        }
        pause = if keeper.is_complete.load(Ordering::Acquire) { FIRST_PAUSE } else { (pause * 2).min(LAST_PAUSE) };
        tokio::select! {
            biased;
            () = keeper.identified.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether the agent says that its caller may have nothing; any other failure is an outage.
pub(crate) fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::PermissionDenied | Code::NotFound | Code::InvalidArgument)
}

async fn stream(keeper: &Arc<RevocationKeeper>, agent: &AgentChannel) -> Result<(), Status> {
    let (acknowledge, requests) = mpsc::channel(4);
    let requests = ReceiverStream::new(requests);
    let mut messages = SidecarClient::new(agent.clone()).watch_revocations(requests).await?.into_inner();
    while let Some(message) = messages.message().await? {
        let (taker, whole) = (keeper.clone(), !message.more);
        let _taken = sekisho_ports::blocking(move || taker.take(&message)).await;
        if whole {
            // An agent that reads slowly hears of the next.
            let _late = acknowledge.try_send(WatchRevocationsRequest { applied_revision: keeper.newest() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
