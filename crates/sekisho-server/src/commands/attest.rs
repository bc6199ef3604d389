use std::net::IpAddr;
use std::sync::Arc;

use sekisho_events::{AttestationId, Attested, TokenId, TokenUsed};
use sekisho_evidence::node::{Device, NodeAttestor, NodeError, OneTime, Proved, Session, attestor};
use sekisho_identity::{Csr, Node};
use sekisho_net::network_of;
use sekisho_runtime::{now, random_bytes};
use sekisho_store::{Conflict, Expect, Write};
use sekisho_types::{SpiffeId, Verified};

use super::asked::AskedNode;
use super::attest_error::AttestError;
use super::conversation::{AnsweringNode, Proof, converse, inputs, remembered};
use super::deny_attestation::deny;
use crate::change::{Change, Facts};
use crate::command::Command;
use crate::issue::Requester;
use crate::issue_x509::{IssuedX509, X509};
use crate::journal::{JournalError, personal};
use crate::run::Run;
use crate::shown_evidence;
use crate::tokens::id_of;

/// Devices that wait for an operator's approval. Anyone can make one up: of more, the network with the most loses one.
const WAITING_DEVICES: usize = 256;
/// Characters of what a device states about itself.
const MAX_ABOUT: usize = 300;

/// Admits a node that proves what it is. Whatever proves the node, what follows is the same.
pub(crate) struct Attest<N> {
    pub node: N,
    /// Where it connects from, keying material of that connection, and how its keys were agreed on.
    pub address: IpAddr,
    pub exporter: [u8; 32],
    pub tls_group: String,
}

/// A node while it proves itself.
pub(crate) trait AttestingNode: AnsweringNode {
    /// What it begins with.
    fn opening(&mut self) -> impl Future<Output = Result<Opening, AttestError>> + Send;
}

pub(crate) struct Opening {
    pub attestor: String,
    pub payload: Vec<u8>,
    pub csr: Vec<u8>,
}

/// The node's SVID, and whether it attests again in place of renewing it.
pub(crate) struct Admitted {
    pub issued: IssuedX509,
    pub can_reattest: bool,
}

impl<N: AttestingNode> Command for Attest<N> {
    type Caller = ();
    type Reply = Admitted;
    type Error = AttestError;

    async fn run(self, run: &Run<'_, ()>) -> Result<Admitted, AttestError> {
        let Self { mut node, address, exporter, tls_group } = self;
        let network = network_of(address);
        if !run.domain.limits.attestations.take(network, now()) {
            return Err(AttestError::TooMany);
        }
        // A stranger that shows nothing takes no place of those who do.
        let opening = node.opening().await?;
        // What a conversation holds in memory is bounded by their number.
        let _slot = run.domain.limits.conversations.take(network).ok_or(AttestError::Busy)?;
        // Before a token is spent for it.
        let csr = Csr::verify(&opening.csr).map_err(|e| AttestError::Csr(e.to_string()))?;
        let (proved, by) = prove(run, &mut node, &opening, (exporter, csr.get()), network).await?;
        let issued = admit(run, (&proved, by), &csr, tls_group).await?;
        Ok(Admitted { issued, can_reattest: proved.can_reattest() })
    }
}

/// Who vouches for a node's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VouchedBy {
    Authority,
    Operator,
}

async fn prove(
    run: &Run<'_, ()>,
    node: &mut impl AttestingNode,
    opening: &Opening,
    (exporter, csr): ([u8; 32], &Csr),
    network: IpAddr,
) -> Result<(Proved, VouchedBy), AttestError> {
    let attestor = known(&opening.attestor)?;
    let remembered = |id: &SpiffeId| remembered(run.facts(), id);
    let given = || {
        let session = Session::new(exporter, &csr.public_key, &random_bytes);
        inputs(run.facts(), attestor, session, &remembered)
    };
    let mut proof = converse(node, attestor.begin(&opening.payload, &given()), &given).await;
    let mut by = VouchedBy::Authority;
    if let Ok(Proof::Approval(unvouched)) = proof {
        check_approved(run, &unvouched.device, network).await?;
        proof = converse(node, unvouched.approved(), &given).await;
        by = VouchedBy::Operator;
    }
    let proved = match proof {
        Ok(Proof::Whole(proved)) => follows(run, attestor, &proved).await.map(|()| proved),
        Ok(Proof::Spend(once)) => spend(run, once).await,
        Ok(Proof::Approval(_)) => Err(AttestError::TooLong),
        Err(error) => Err(error),
    };
    match proved {
        Ok(proved) => Ok((proved, by)),
        Err(AttestError::Node(NodeError::Denied(denied))) => {
            Err(deny(run.domain, *denied, attestor.class().name).await?)
        }
        Err(error) => Err(error),
    }
}

/// A device whose node was removed goes on from what was known of it then.
async fn follows(run: &Run<'_, ()>, attestor: &dyn NodeAttestor, proved: &Proved) -> Result<(), AttestError> {
    let (domain, id) = (run.domain, proved.id());
    // A whole attestation is judged by its own logs, so it is not refused for this.
    if remembered(run.facts(), id).is_some_and(|before| !attestor.reads(&before)) {
        tracing::error!(%id, "what is kept of this node's last state is not readable; it is judged by its logs alone");
    }
    let Some(device) = proved.device() else { return Ok(()) };
    let Some(known) = domain.store.device(&domain.identity.name, &device.key).await? else { return Ok(()) };
    let Some(before) = known.remembered else { return Ok(()) };
    match attestor.follows(&before, proved) {
        Err(NodeError::Forgotten) => {
            let (key, approved_by) = (device.key, known.approved_by);
            tracing::error!(%id, %key, approved_by, "what is kept of a removed node's state is not readable");
            // An operator vouches for it, or has to.
            if approved_by.is_some() { Ok(()) } else { Err(AttestError::Unreadable(key)) }
        }
        judged => Ok(judged?),
    }
}

/// Refuses a device that no operator has allowed. It waits on the list that operators see.
async fn check_approved(run: &Run<'_, ()>, device: &Device, network: IpAddr) -> Result<(), AttestError> {
    let domain = run.domain;
    let known = domain.store.device(&domain.identity.name, &device.key).await?;
    if known.is_some_and(|known| known.approved_by.is_some()) {
        return Ok(());
    }
    let (key, about) = (device.key, device.about.chars().take(MAX_ABOUT).collect::<String>());
    let seen = || {
        let (about, network) = (about.clone(), network.to_string());
        let write = Write::SeeDevice { key, about, network, at: now(), keep: WAITING_DEVICES };
        Ok::<_, AttestError>(Change::with_reply(()).write(write))
    };
    run.change(seen).await?;
    Err(AttestError::Unapproved(device.key))
}

fn known(name: &str) -> Result<&'static dyn NodeAttestor, AttestError> {
    attestor(name).ok_or_else(|| {
        let known: Vec<_> = sekisho_evidence::node::ATTESTORS.iter().map(|a| a.class().name).collect();
        AttestError::UnknownAttestor { name: name.to_owned(), known: known.join(", ") }
    })
}

/// Spends what is good once. That it is unused is checked in the transaction that spends it, so of two callers one wins
/// (law L4).
async fn spend(run: &Run<'_, ()>, once: OneTime) -> Result<Proved, AttestError> {
    let (hash, domain) = (once.hash().to_string(), run.domain);
    let token = domain.store.token(&domain.identity.name, &hash).await?.ok_or(AttestError::TokenUnknown)?;
    if token.expires_at <= now() {
        return Err(AttestError::TokenExpired);
    }
    let spending = || {
        let unused = Expect::Token { hash: hash.clone(), at: now() };
        let change = Change::with_reply(()).expect(unused).write(Write::SpendToken(hash.clone()));
        let used = TokenId::parse(&id_of(&hash));
        let used = used.map(|id| TokenUsed { agent: personal(token.agent_id.clone()), token: id });
        Ok::<_, AttestError>(used.into_iter().fold(change, Change::event))
    };
    run.change(spending).await?;
    Ok(once.spent(token.agent_id, now())?)
}

/// Issues the agent's SVID and registers the node. The attestation is in the log before the agent hears of it.
async fn admit(
    run: &Run<'_, ()>,
    (proved, by): (&Proved, VouchedBy),
    csr: &Verified<Csr>,
    tls_group: String,
) -> Result<IssuedX509, AttestError> {
    let (id, domain) = (proved.id(), run.domain);
    let banned = |withdrawn| AttestError::Banned { agent: id.clone(), withdrawn };
    let is_banned = |id: &SpiffeId| domain.view.read(|state| state.nodes.get(id).is_some_and(|node| node.banned));
    if is_banned(id) {
        return Err(banned(vec![]));
    }
    // Nor does a certificate in its TPM make it another node.
    let within = match proved.endorsement() {
        Some(key) => domain.store.device(&domain.identity.name, &key).await?.and_then(|known| known.node),
        None => None,
    };
    if within.as_ref().is_some_and(is_banned) {
        return Err(banned(vec![]));
    }
    let mut node = Node::proved(proved);
    let (shown, before) = (proved.shown(), remembered(run.facts(), id));
    // Before its leaf, which names it.
    if let Some(shown) = shown {
        shown_evidence::keep(domain, shown.clone()).await?;
    }
    let attested = Attested {
        agent: personal(id.clone()),
        attestor: node.attestation_type.clone(),
        boot_image: shown.and_then(|shown| shown.boot_image.clone()),
        boot_policy_sha256: shown.and_then(|shown| shown.boot_policy),
        evidence_sha256: shown.map(|shown| shown.sha256),
        id: AttestationId::new(domain.log.new_id()),
        tls_group,
    };
    run.log(attested).await?;
    let requester = Requester::attested(&domain.view, &domain.identity, id.clone());
    let asked = AskedNode { csr: csr.clone(), evidence: Arc::new(proved.evidence().clone()) };
    let issued = run.issue(&Arc::new(requester), X509, asked).await;
    let issued = issued.map_err(|error| AttestError::Issue { agent: id.clone(), error })?;
    node.serial.clone_from(&issued.identity.serial);
    node.expires_at = issued.not_after;
    let device = proved.device();
    let admission = || {
        // Once more: a ban may have come since (law L6).
        let may = !within.as_ref().is_some_and(is_banned);
        let admitted = may.then(|| admission(run.facts(), &node, (device, by))).flatten();
        admitted.ok_or_else(|| banned(vec![issued.log_id]))
    };
    let (agent, withdrawn) = (id.clone(), vec![issued.log_id]);
    match run.change(admission).await {
        Ok(()) => {
            shown_evidence::replace(domain, before, &node).await;
            Ok(issued)
        }
        Err(AttestError::Journal(JournalError::Conflict(Conflict::DeviceTaken(key)))) => {
            tracing::error!(%id, %key, "a node proved itself by a device that is another node permanently");
            Err(AttestError::DeviceTaken { agent, withdrawn })
        }
        Err(AttestError::Journal(JournalError::Conflict(
            reason @ (Conflict::DeviceRemoved(_) | Conflict::DeviceNotApproved(_)),
        ))) => Err(AttestError::Overtaken { agent, withdrawn, reason }),
        Err(AttestError::Journal(error)) => Err(AttestError::Unregistered { agent, withdrawn, error }),
        Err(error) => Err(error),
    }
}

/// Registers a node that has proved itself, unless a ban came meanwhile. To attest again is such a node's renewal: the
/// SVID before is good until this one is used.
fn admission(of: Facts<'_>, node: &Node, (device, by): (Option<&Device>, VouchedBy)) -> Option<Change<()>> {
    let known = of.view.read(|state| state.nodes.get(&node.id).cloned());
    if known.as_ref().is_some_and(|known| known.banned) {
        return None;
    }
    // What the SVID before proves of its key must hold for this one as well: both count for a while.
    let before = known.as_ref().filter(|known| node.can_reattest && key_class(known) == key_class(node));
    let admitted = Node { previous_serial: before.map(|known| known.serial.clone()), ..node.clone() };
    let change = Change::with_reply(()).expect(Expect::Node { id: node.id.clone(), is: known });
    let change = change.write(Write::PutNode(Arc::new(admitted)));
    Some(match device {
        Some(Device { key, about }) => {
            let about = about.chars().take(MAX_ABOUT).collect();
            let (since, approved) = (node.attested_at, by == VouchedBy::Operator);
            let bind = Write::BindDevice { key: *key, node: node.id.clone(), about, at: since };
            change.expect(Expect::Device { key: *key, node: node.id.clone(), since, approved }).write(bind)
        }
        None => change,
    })
}

/// Where the key of the node's SVID is, as its selectors have it.
fn key_class(node: &Node) -> Option<&str> {
    node.selectors.iter().find_map(|selector| selector.value().strip_prefix("key_class:"))
}
