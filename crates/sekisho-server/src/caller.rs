//! Who calls: what a connection proves, as it stands now.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use sekisho_evidence::Evidence;
use sekisho_identity::{Node, Standing};
use sekisho_net::{TlsPeer, UnixPeer};
use sekisho_runtime::now;
use sekisho_types::{SpiffeId, UnixTime, Verified};

use crate::denied::Denied;
use crate::domain::Domain;
use crate::issue::Asker;
use crate::view::View;

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
    pub(crate) fn of(view: &View, local: Option<&Self>, peer: Option<&Arc<TlsPeer>>) -> Option<Self> {
        if let Some(local) = local {
            return Some(local.clone());
        }
        let leaf = peer?.leaf.as_ref()?.get();
        let now = now();
        let admin = view.read(|state| state.is_admin(&leaf.spiffe_id, now) && state.revocations.find(leaf).is_none());
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
    /// What identities that it asks for rest on; looked up once for all that one call asks for.
    basis: Arc<Basis>,
}

#[derive(Default)]
struct Basis {
    asker: OnceLock<Asker>,
    evidence: OnceLock<Evidence>,
}

impl AgentCaller {
    pub(crate) fn known(view: &View, peer: Option<&Arc<TlsPeer>>) -> Result<Self, Denied> {
        let leaf = peer.and_then(|peer| peer.leaf.as_ref()).ok_or(Denied::NoSvid)?.get();
        if !leaf.spiffe_id.path().starts_with("/spire/agent/") {
            return Err(Denied::NoAgent);
        }
        // A connection may outlive the SVID that opened it.
        if leaf.not_after <= now() {
            return Err(Denied::Expired);
        }
        Self::of(view, Verified::assertion(leaf.spiffe_id.clone()), leaf.serial.clone(), leaf.not_after)
    }

    /// The agent that showed an SVID with this serial number.
    pub(crate) fn of(view: &View, id: Verified<SpiffeId>, serial: String, not_after: UnixTime) -> Result<Self, Denied> {
        let node = view.read(|state| state.nodes.get(id.get()).cloned());
        match (Node::standing(node.as_deref(), &serial), node) {
            (Standing::Good, Some(node)) => Ok(Self { id, serial, not_after, node, basis: Arc::default() }),
            (standing, _) => Err(Denied::Standing(standing)),
        }
    }

    /// What it proved, on which all that it asks for rests.
    pub(crate) fn evidence(&self) -> Result<&Evidence, Denied> {
        if let Some(evidence) = self.basis.evidence.get() {
            return Ok(evidence);
        }
        let evidence = self.node.evidence().map_err(|error| {
            tracing::error!(%error, agent = %self.id.get(), "what is stored of the agent's attestation is not understood");
            Denied::MustAttest
        })?;
        Ok(self.basis.evidence.get_or_init(|| evidence))
    }

    /// The agent as it stood when the call first asked for an identity. The gate looks again before it signs: a ban may come meanwhile.
    pub(crate) fn asker(&self, domain: &Domain) -> &Asker {
        self.basis
            .asker
            .get_or_init(|| Asker::agent(&domain.view, &domain.identity, self.id.clone(), self.serial.clone()))
    }

    /// How it stands now.
    pub(crate) fn standing(&self, domain: &Domain) -> Standing {
        domain.view.read(|state| Node::standing(state.nodes.get(self.id.get()).map(AsRef::as_ref), &self.serial))
    }
}
