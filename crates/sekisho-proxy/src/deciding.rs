//! What a sidecar decides by and where its records go, without its listeners: policy, revocations and records all pass
//! through the agent. The sidecar's listeners stand on it, and so do the simulated sidecars of the lab.

use std::path::Path;
use std::sync::Arc;

use sekisho_disk::Spool;
use sekisho_identity::LeafFacts;
use sekisho_policy::RequestInput;
use sekisho_runtime::{Tasks, random_hex};
use sekisho_sdk::{IdentitySource, RevocationKeeper, agent_channel, follow_revocations};
use tokio::sync::watch;

use crate::decisions::{self, Decider, Outcome};
use crate::error::ProxyError;
use crate::judged::{StillAllowed, Watched};
use crate::policy::{self, PolicyKeeper};
use crate::recorder;
use crate::renewal::Proven;
use crate::revocations;
use crate::trace::Trace;

/// What decides, and what is revoked, kept up to date by the agent.
#[derive(Clone)]
pub struct Deciding {
    pub(crate) decider: Arc<Decider>,
    pub(crate) revocations: Arc<RevocationKeeper>,
    /// Of records that wait to be sent.
    pub(crate) spool: Spool,
}

impl Deciding {
    /// Follows the agent at this socket. What has to outlive a restart is kept in `folder`, at most `spool_bytes` of it
    /// records.
    pub fn start(
        folder: &Path,
        spool_bytes: usize,
        agent_socket: &Path,
        identity: &IdentitySource,
        tasks: &Tasks,
    ) -> Result<Self, ProxyError> {
        let agent = agent_channel(agent_socket);
        let revocations = Arc::new(revocations::open(folder.join("revocations")));
        tasks.required("revocations", follow_revocations(revocations.clone(), agent.clone()));
        let keeper = Arc::new(PolicyKeeper::open(folder.join("policy.json")));
        let spool = Spool::open(&folder.join("spool"), spool_bytes, &random_hex(16))?;
        tasks.required("records", recorder::forward(spool.clone(), agent.clone()));
        tasks.required("policy", policy::follow(keeper.clone(), agent, identity.held.clone()));
        let (decider, writer) = Decider::new(keeper, spool.clone(), identity.held.clone());
        // What it was given when the program stops is written all the same.
        drop(tasks.finishing("record-writer", writer.run()));
        let decider = Arc::new(decider);
        let (counted, logs) = (decider.clone(), decider.clone());
        tasks.restarted("stranger-counts", move || decisions::run_stranger_count(counted.clone()));
        tasks.restarted("log-counts", move || decisions::log_counts(logs.clone()));
        Ok(Self { decider, revocations, spool })
    }

    /// Which peers are refused.
    pub const fn revocations(&self) -> &Arc<RevocationKeeper> {
        &self.revocations
    }

    /// Decides on a request of the peer that showed `leaf`, and records it. With the decision comes what tells when an
    /// allowed request is allowed no more.
    pub async fn decide(&self, request: Arc<RequestInput>, leaf: &LeafFacts) -> (Outcome, OpenRequest) {
        // Subscribed before the decision, so that no change falls between.
        let policy = self.decider.policy().changed.subscribe();
        let (_, proven) = watch::channel(Proven::new(Arc::new(leaf.clone()), leaf.not_after));
        let outcome = self.decider.decide(request.clone(), Trace::below(None)).await;
        let watched = Watched { policy, proven };
        (outcome, OpenRequest(StillAllowed::new(request, self.decider.clone(), watched)))
    }

    /// Follows the policy revision in force: 0 before the first.
    pub fn policy_revisions(&self) -> watch::Receiver<u64> {
        self.decider.policy().changed.subscribe()
    }

    /// Records that wait to be sent, and lost ones of which the server has not heard.
    pub fn waiting(&self) -> (u64, u64) {
        self.spool.depth()
    }

    /// The policy revision in force.
    pub fn policy_revision(&self) -> Option<u64> {
        self.decider.policy().current().map(|policy| policy.revision)
    }
}

/// An allowed request that is still open.
pub struct OpenRequest(StillAllowed);

impl OpenRequest {
    /// Returns when the policy in force no longer allows it (law L12). That is recorded as a decision of its own.
    pub async fn denied(&mut self) {
        self.0.denied().await;
    }
}
