//! Who calls: what a connection proves, as it stands now.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use sekisho_evidence::Evidence;
use sekisho_identity::{Entry, IssuedSvid, LeafFacts, Node, Standing};
use sekisho_net::{TlsPeer, UnixPeer};
use sekisho_runtime::now;
use sekisho_store::{EntryVersion, Expect};
use sekisho_types::{SpiffeId, UnixTime, Verified};

use crate::denied::Denied;
use crate::domain::Domain;
use crate::issue::Requester;
use crate::view::{State, View};

/// Who can call: an operator, an agent, anyone, or the server itself.
pub(crate) trait Caller: Send + Sync {
    /// The agent under whose name a refusal is recorded; that of others is recorded under the name of their connection.
    fn agent(&self) -> Option<&SpiffeId> {
        None
    }

    /// What each write of this caller relies on, so that an expired right keeps it out (law L6).
    fn stands(&self, _view: &View) -> Result<Option<Expect>, Denied> {
        Ok(None)
    }
}

/// Anyone.
impl Caller for () {}

/// Who may read the log: an operator, and anyone where it is published (decisions/0019).
#[derive(Clone)]
pub(crate) struct LogReader {
    pub is_operator: bool,
}

impl Caller for LogReader {}

/// This server itself.
pub(crate) struct ThisServer;

impl Caller for ThisServer {}

impl Caller for Operator {
    /// Judges it again. What it writes relies on what it was judged by; on this machine that does not change.
    fn stands(&self, view: &View) -> Result<Option<Expect>, Denied> {
        let Some(ShownByOperator { leaf, agent }) = self.shown.as_deref() else { return Ok(None) };
        view.read(|state| {
            let entry = administers(state, leaf).ok_or(Denied::NoOperator)?;
            let key = leaf.issuance.as_ref().and_then(|issuance| issuance.agent);
            let agent = agent.get_or_init(|| state.agent_of(key?, entry));
            let revocable = IssuedSvid::from(leaf).revocable(agent.clone());
            Ok(Some(Expect::Operator { entry: EntryVersion::of(entry), revocable, judged_at: state.revision }))
        })
    }
}

impl Caller for AgentCaller {
    fn agent(&self) -> Option<&SpiffeId> {
        Some(self.id.get())
    }

    fn stands(&self, _view: &View) -> Result<Option<Expect>, Denied> {
        Ok(Some(Expect::Standing { agent: self.id.get().clone(), serial: self.serial.clone() }))
    }
}

/// An operator whose right to act was checked.
#[derive(Clone)]
pub(crate) struct Operator {
    name: String,
    /// What it showed, unless it is on this machine: its right may end while it is served.
    shown: Option<Arc<ShownByOperator>>,
}

struct ShownByOperator {
    leaf: LeafFacts,
    /// The agent that asked for it; looked up once for all that one call writes.
    agent: OnceLock<Option<SpiffeId>>,
}

impl Operator {
    /// Root and this server's own user may use its local socket.
    pub(crate) fn on_socket(peer: &UnixPeer, own_uid: u32) -> Option<Self> {
        (peer.uid == 0 || peer.uid == own_uid).then(|| Self::local(format!("uid:{}", peer.uid)))
    }

    /// The person who configured a policy folder and writes into it.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        Self::local(folder.display().to_string())
    }

    const fn local(name: String) -> Self {
        Self { name, shown: None }
    }

    /// The operator behind a connection: already admitted on the local socket, or with an admin entry over TLS.
    pub(crate) fn of(view: &View, local: Option<&Self>, peer: Option<&Arc<TlsPeer>>) -> Option<Self> {
        if let Some(local) = local {
            return Some(local.clone());
        }
        let leaf = peer?.leaf.as_ref()?.get();
        view.read(|state| administers(state, leaf).map(drop))?;
        let shown = ShownByOperator { leaf: leaf.clone(), agent: OnceLock::new() };
        Some(Self { name: leaf.spiffe_id.to_string(), shown: Some(Arc::new(shown)) })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is on this machine.
    pub(crate) const fn is_local(&self) -> bool {
        self.shown.is_none()
    }
}

/// The entry by which the holder of an SVID may administer now.
fn administers<'a>(state: &'a State, leaf: &LeafFacts) -> Option<&'a Arc<Entry>> {
    let now = now();
    let is_good = leaf.not_after > now && state.revocations.find(leaf).is_none();
    state.admin_entry(&leaf.spiffe_id, now).filter(|_| is_good)
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
    requester: OnceLock<Arc<Requester>>,
    evidence: OnceLock<Arc<Evidence>>,
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
    pub(crate) fn evidence(&self) -> Result<&Arc<Evidence>, Denied> {
        if let Some(evidence) = self.basis.evidence.get() {
            return Ok(evidence);
        }
        let evidence = self.node.evidence().map_err(|error| {
            tracing::error!(%error, agent = %self.id.get(), "the stored attestation of the agent is not readable");
            Denied::MustAttest
        })?;
        Ok(self.basis.evidence.get_or_init(|| Arc::new(evidence)))
    }

    /// The agent as it stood when the call first asked for an identity. The gate looks again before it signs: a ban may
    /// come meanwhile.
    pub(crate) fn requester(&self, domain: &Domain) -> &Arc<Requester> {
        let agent = || Requester::agent(&domain.view, &domain.identity, self.id.clone(), self.serial.clone());
        self.basis.requester.get_or_init(|| Arc::new(agent()))
    }

    /// How it stands now.
    pub(crate) fn standing(&self, domain: &Domain) -> Standing {
        domain.view.read(|state| Node::standing(state.nodes.get(self.id.get()).map(AsRef::as_ref), &self.serial))
    }
}
