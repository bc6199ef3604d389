//! Node attestation. Whatever proves the node, what follows is the same.

use std::sync::Arc;

use sekisho_events::{AttestationId, Attested, TokenId, TokenUsed};
use sekisho_evidence::EvidenceError;
use sekisho_evidence::node::{Conversation, Given, NodeAttestor, NodeError, Proved, Session, Step, attestor};
use sekisho_identity::{Csr, Node, Request, Standing};
use sekisho_runtime::{now, random_bytes};
use sekisho_store::{Conflict, Expect, Item, StoreError, Write};
use sekisho_types::{SpiffeId, Verified};

use crate::caller::AgentCaller;
use crate::domain::Domain;
use crate::issue::{self, Asker, IssueError, IssuedX509};
use crate::journal::{self, JournalError, Stamp, personal};
use crate::refusal::Ended;
use crate::submit;
use crate::tokens::id_of;

#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestError {
    #[error("node attestor `{name}` is not known here (known: {known})")]
    UnknownAttestor { name: String, known: String },
    #[error(
        "the join token is unknown or was used before; create another with `sekisho token create --agent-id <agent>`"
    )]
    TokenUnknown,
    #[error("the join token has expired; create another with `sekisho token create --agent-id <agent>`")]
    TokenExpired,
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    #[error("agent `{0}` is banned")]
    Banned(SpiffeId),
    #[error("an agent that can attest again does so in place of renewing")]
    MustReattest,
    #[error("the agent changed while its SVID was renewed")]
    Changed(Standing),
    #[error("the certificate signing request: {0}")]
    Csr(String),
    #[error(transparent)]
    Issue(#[from] Ended<IssueError>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<Conflict> for AttestError {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Standing { standing, .. } => Self::Changed(standing),
            Conflict::Token => Self::TokenUnknown,
            other => Self::Journal(other.into()),
        }
    }
}

/// A node that proves itself, over one connection, by one attestor.
pub(crate) struct Attestation {
    attestor: &'static dyn NodeAttestor,
    /// Keying material of the connection.
    exporter: [u8; 32],
}

/// How it goes on.
pub(crate) enum Turn {
    /// The node answers this.
    Challenge(Vec<u8>, Box<dyn Conversation>),
    Proved(Proved),
}

impl Attestation {
    pub(crate) fn by(name: &str, exporter: [u8; 32]) -> Result<Self, AttestError> {
        let unknown = || {
            let known: Vec<_> = sekisho_evidence::node::ATTESTORS.iter().map(|a| a.class().name).collect();
            AttestError::UnknownAttestor { name: name.to_owned(), known: known.join(", ") }
        };
        Ok(Self { attestor: attestor(name).ok_or_else(unknown)?, exporter })
    }

    pub(crate) async fn begin(&self, domain: &Domain, payload: &[u8]) -> Result<Turn, AttestError> {
        let step = self.attestor.begin(payload, &self.given(domain))?;
        settle(domain, step).await
    }

    pub(crate) async fn go_on(
        &self,
        domain: &Domain,
        conversation: Box<dyn Conversation>,
        answer: &[u8],
    ) -> Result<Turn, AttestError> {
        let step = conversation.go_on(answer, &self.given(domain))?;
        settle(domain, step).await
    }

    fn given<'a>(&self, domain: &'a Domain) -> Given<'a> {
        let session = Session { exporter: self.exporter, fresh: &random_bytes };
        let anchors = domain.settings.anchors.of(self.attestor.class().name);
        Given { session, trust_domain: &domain.identity.name, anchors, now: now() }
    }
}

/// Spends what is good once. That it is unused is checked in the transaction that spends it, so of two callers one wins (law L4).
async fn settle(domain: &Domain, step: Step) -> Result<Turn, AttestError> {
    let once = match step {
        Step::Challenge(challenge, conversation) => return Ok(Turn::Challenge(challenge, conversation)),
        Step::Proved(proved) => return Ok(Turn::Proved(proved)),
        Step::Spend(once) => once,
    };
    let hash = once.hash().to_string();
    let token = domain.store.token(&domain.identity.name, &hash).await?.ok_or(AttestError::TokenUnknown)?;
    if token.expires_at <= now() {
        return Err(AttestError::TokenExpired);
    }
    let unused = Expect::Token { hash: hash.clone(), at: now() };
    let item = Item::default().expect(unused).write(Write::SpendToken(hash.clone()));
    let used = TokenId::parse(&id_of(&hash)).map(|id| TokenUsed { agent: personal(token.agent_id.clone()), token: id });
    let item = used.into_iter().fold(item, |item, used| item.record(Stamp::now(domain).leaf(used)));
    submit::write::<AttestError>(domain, item).await?;
    Ok(Turn::Proved(once.spent(token.agent_id, now())?))
}

/// Issues the agent's SVID and registers the node. The attestation is in the log before the agent hears of it.
pub(crate) async fn admit(
    domain: &Domain,
    proved: &Proved,
    csr: &Verified<Csr>,
    group: &str,
) -> Result<IssuedX509, AttestError> {
    let id = proved.id();
    let known = domain.view.read(|state| state.nodes.get(id).cloned());
    if known.is_some_and(|node| node.banned) {
        issue::refused(domain, &id.to_string(), "a banned agent attested").await?;
        return Err(AttestError::Banned(id.clone()));
    }
    let mut node = Node::proved(proved);
    let attested = Attested {
        agent: personal(id.clone()),
        attestor: node.attestation_type.clone(),
        id: AttestationId::new(domain.new_log_id()),
        tls_group: group.to_owned(),
    };
    journal::append(domain, attested).await?;
    let asker = Asker::attested(domain, id.clone());
    let request = Request::NodeSvid { csr, evidence: proved.evidence() };
    let issued = issue::x509(domain, &asker, request).await?;
    node.serial.clone_from(&issued.serial);
    node.expires_at = issued.not_after;
    let admitted = submit::change(domain, || Ok((admission(domain, &node)?, ()))).await;
    if let Err(AttestError::Banned(id)) = &admitted {
        issue::withdrawn(domain, &id.to_string(), vec![issued.log_id], "the agent was banned").await?;
    }
    admitted.map(|_| issued)
}

/// Registers a node that has proved itself, unless a ban came meanwhile. To attest again is such a node's renewal: the SVID before
/// is good until this one is used.
fn admission(domain: &Domain, node: &Node) -> Result<Item, AttestError> {
    let known = domain.view.read(|state| state.nodes.get(&node.id).cloned());
    if known.as_ref().is_some_and(|known| known.banned) {
        return Err(AttestError::Banned(node.id.clone()));
    }
    let before = known.as_ref().filter(|_| node.can_reattest);
    let admitted = Node { previous_serial: before.map(|known| known.serial.clone()), ..node.clone() };
    let item = Item::default().expect(Expect::Node { id: node.id.clone(), is: known });
    Ok(item.write(Write::PutNode(Arc::new(admitted))))
}

/// Renews an agent's SVID. The one it shows now stays good until the new one is used, in case the answer is lost.
pub(crate) async fn renew(domain: &Domain, agent: &AgentCaller, csr: &[u8]) -> Result<IssuedX509, AttestError> {
    let asker = agent.asker(domain);
    let csr = match Csr::verify(csr) {
        Ok(csr) => csr,
        Err(error) => {
            issue::refused(domain, &asker.name(), &error.to_string()).await?;
            return Err(AttestError::Csr(error.to_string()));
        }
    };
    // As SPIRE has it: such an agent would otherwise hold its identity without ever proving itself again.
    if agent.node.can_reattest {
        return Err(AttestError::MustReattest);
    }
    let evidence = agent.node.evidence()?;
    let issued = issue::x509(domain, &asker, Request::NodeSvid { csr: &csr, evidence: &evidence }).await?;
    // It may have been banned or evicted, or have used a successor of what it shows, since it was judged.
    let (id, shown) = (agent.id.get().clone(), agent.serial.clone());
    let item = Item::default().expect(Expect::Standing { agent: id.clone(), serial: shown.clone() });
    let (serial, expires_at) = (issued.serial.clone(), issued.not_after);
    let renewal = item.write(Write::RenewNode { id, serial, previous_serial: Some(shown), expires_at });
    match submit::write::<AttestError>(domain, renewal).await {
        Ok(_) => Ok(issued),
        Err(error) => {
            if let AttestError::Changed(_) = error {
                issue::withdrawn(domain, &asker.name(), vec![issued.log_id], &error.to_string()).await?;
            }
            Err(error)
        }
    }
}

/// Ends the SVID before the one that the agent shows now: a successor that was used has replaced it. Durable when this
/// returns, and before the call that showed the successor goes on.
pub(crate) async fn retire_previous(domain: &Domain, id: &SpiffeId, serial: &str) -> Result<(), AttestError> {
    let retirement = || {
        let node = domain.view.read(|state| state.nodes.get(id).cloned());
        let shown = node.filter(|node| node.serial == serial && node.previous_serial.is_some());
        let Some(node) = shown else { return Ok((Item::default(), ())) };
        let (serial, expires_at) = (node.serial.clone(), node.expires_at);
        let write = Write::RenewNode { id: id.clone(), serial, previous_serial: None, expires_at };
        Ok((Item::default().expect(Expect::Node { id: id.clone(), is: Some(node) }).write(write), ()))
    };
    submit::change::<(), AttestError>(domain, retirement).await.map(drop)
}

/// Notes which version of its program an agent says that it runs.
pub(crate) async fn note_version(domain: &Domain, agent: &AgentCaller, version: String) -> Result<(), AttestError> {
    let id = agent.id.get().clone();
    let stands = Expect::Standing { agent: id.clone(), serial: agent.serial.clone() };
    submit::write(domain, Item::default().expect(stands).write(Write::NodeVersion { id, version })).await.map(drop)
}
