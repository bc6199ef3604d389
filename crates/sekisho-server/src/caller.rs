//! Who calls: what a connection proves, as it stands now.

use std::path::Path;
use std::sync::Arc;

use sekisho_evidence::Evidence;
use sekisho_identity::{Node, Standing};
use sekisho_net::{TlsPeer, UnixPeer};
use sekisho_proto::reason_status;
use sekisho_proto::types::permission_denied_details::Reason;
use sekisho_runtime::now;
use sekisho_types::{SpiffeId, UnixTime, Verified};
use tonic::Status;

use crate::domain::Domain;
use crate::issue::Asker;
use crate::standing::denied;

/// An operator whose right to act was checked.
#[derive(Debug, Clone)]
pub(crate) struct Operator(String);

impl Operator {
    /// Root and this server's own user may use its local socket.
    pub(crate) fn on_socket(peer: &UnixPeer, own_uid: u32) -> Option<Self> {
        (peer.uid == 0 || peer.uid == own_uid).then(|| Self(format!("uid:{}", peer.uid)))
    }

    /// The person who configured a policy folder and writes into it.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        Self(folder.display().to_string())
    }

    /// The operator behind a connection: already admitted on the local socket, or with an admin entry over TLS.
    pub(crate) fn of(domain: &Domain, local: Option<&Self>, peer: Option<&Arc<TlsPeer>>) -> Option<Self> {
        if let Some(local) = local {
            return Some(local.clone());
        }
        let leaf = peer?.leaf.as_ref()?.get();
        let now = now();
        let admin =
            domain.view.read(|state| state.is_admin(&leaf.spiffe_id, now) && state.revocations.find(leaf).is_none());
        (admin && leaf.not_after > now).then(|| Self(leaf.spiffe_id.to_string()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

/// The agent behind a call, as its SVID names it, and how it stands.
#[derive(Clone)]
pub(crate) struct AgentCaller {
    pub id: Verified<SpiffeId>,
    pub serial: String,
    pub not_after: UnixTime,
    pub node: Arc<Node>,
}

impl AgentCaller {
    /// Fails with the status details that make an agent attest again, or stop.
    pub(crate) fn known(domain: &Domain, peer: Option<&Arc<TlsPeer>>) -> Result<Self, Status> {
        let leaf = peer.and_then(|peer| peer.leaf.as_ref());
        let leaf = leaf
            .ok_or_else(|| Status::permission_denied("this call needs an agent's SVID as client certificate"))?
            .get();
        if !leaf.spiffe_id.path().starts_with("/spire/agent/") {
            return Err(Status::permission_denied("the client certificate is not an agent's"));
        }
        // A connection may outlive the SVID that opened it.
        if leaf.not_after <= now() {
            return Err(reason_status("the agent's SVID has expired", Reason::AgentExpired));
        }
        let node = domain.view.read(|state| state.nodes.get(&leaf.spiffe_id).cloned());
        match (Node::standing(node.as_deref(), &leaf.serial), node) {
            (Standing::Good, Some(node)) => Ok(Self {
                id: Verified::assertion(leaf.spiffe_id.clone()),
                serial: leaf.serial.clone(),
                not_after: leaf.not_after,
                node,
            }),
            (standing, _) => Err(denied(standing)),
        }
    }

    /// What it proved, on which all that it asks for rests.
    pub(crate) fn evidence(&self) -> Result<Evidence, Status> {
        self.node.evidence().map_err(|error| {
            tracing::error!(%error, agent = %self.id.get(), "what is stored of the agent's attestation is not understood");
            reason_status("the agent must attest again", Reason::AgentNotAttested)
        })
    }

    /// The agent as it stands now, for the gate: a ban may have come since the call began.
    pub(crate) fn asker(&self, domain: &Domain) -> Asker {
        Asker::agent(domain, self.id.clone(), self.serial.clone())
    }

    /// How it stands now.
    pub(crate) fn standing(&self, domain: &Domain) -> Standing {
        domain.view.read(|state| Node::standing(state.nodes.get(self.id.get()).map(AsRef::as_ref), &self.serial))
    }
}
