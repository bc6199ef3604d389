//! Node attestation. Whatever proves the node, what follows is the same.

use sekisho_events::{AttestationId, Attested};
use sekisho_evidence::EvidenceError;
use sekisho_evidence::node::{Conversation, Given, NodeAttestor, NodeError, Proved, Session, Step, attestor};
use sekisho_identity::{Csr, Node, Request, Standing};
use sekisho_runtime::{now, random_bytes};
use sekisho_store::{StoreError, TokenUse};
use sekisho_types::{SpiffeId, Verified};

use crate::counters::Counters;
use crate::domain::Domain;
use crate::grpc::AgentCaller;
use crate::issue::{self, Asker, IssueError, IssuedX509};
use crate::journal::{self, JournalError, personal};

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
    Issue(#[from] IssueError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
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
        Given { session, trust_domain: &domain.name, anchors, now: now() }
    }
}

/// Spends what is good once. Spending is one statement in one batch, so of two callers one wins.
async fn settle(domain: &Domain, step: Step) -> Result<Turn, AttestError> {
    let once = match step {
        Step::Challenge(challenge, conversation) => return Ok(Turn::Challenge(challenge, conversation)),
        Step::Proved(proved) => return Ok(Turn::Proved(proved)),
        Step::Spend(once) => once,
    };
    let hash = once.hash().to_string();
    let spent: Result<TokenUse, StoreError> =
        domain.store.write(&domain.name, move |batch| batch.spend_token(&hash, now())).await;
    match spent? {
        TokenUse::Spent { agent_id } => Ok(Turn::Proved(once.spent(agent_id, now())?)),
        TokenUse::Expired => Err(AttestError::TokenExpired),
        TokenUse::Unknown => Err(AttestError::TokenUnknown),
    }
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
    Counters::count(&domain.counters.attestations, 1);
    let id = node.id.clone();
    let written: Result<bool, StoreError> = domain
        .store
        .write(&domain.name, move |batch| {
            let known = batch.node(&node.id)?;
            // A ban that came meanwhile stays.
            let banned = known.as_ref().is_some_and(|known| known.banned);
            if !banned {
                // To attest again is such a node's renewal: the SVID before is good until this one is used.
                node.previous_serial = known.filter(|_| node.can_reattest).map(|known| known.serial);
                batch.put_node(node)?;
            }
            Ok(!banned)
        })
        .await;
    if written? {
        return Ok(issued);
    }
    issue::withdrawn(domain, &id.to_string(), vec![issued.log_id], "the agent was banned").await?;
    Err(AttestError::Banned(id))
}

/// Renews an agent's SVID. The one it shows now stays good until the new one is used, in case the answer is lost.
pub(crate) async fn renew(domain: &Domain, agent: &AgentCaller, csr: &[u8]) -> Result<IssuedX509, AttestError> {
    let asker = agent.asker(domain);
    let csr = match Csr::verify(csr) {
        Ok(csr) => csr,
        Err(error) => {
            issue::refused(domain, &asker.name(), &error.to_string()).await.map_err(IssueError::from)?;
            return Err(AttestError::Csr(error.to_string()));
        }
    };
    // As SPIRE has it: such an agent would otherwise hold its identity without ever proving itself again.
    if agent.node.can_reattest {
        return Err(AttestError::MustReattest);
    }
    let evidence = agent.node.evidence()?;
    let issued = issue::x509(domain, &asker, Request::NodeSvid { csr: &csr, evidence: &evidence }).await?;
    let (id, shown) = (agent.id.get().clone(), agent.serial.clone());
    let (serial, expires) = (issued.serial.clone(), issued.not_after);
    let written: Result<Standing, StoreError> = domain
        .store
        .write(&domain.name, move |batch| {
            let node = batch.node(&id)?;
            // It may have been banned or evicted, or have used a successor of what it shows, since it was judged.
            let standing = Node::standing(node.as_ref(), &shown);
            if let (Some(mut node), Standing::Good) = (node, standing) {
                node.previous_serial = Some(shown);
                node.serial = serial;
                node.expires_at = expires;
                batch.put_node(node)?;
            }
            Ok(standing)
        })
        .await;
    match written? {
        Standing::Good => Ok(issued),
        standing => {
            let error = AttestError::Changed(standing);
            issue::withdrawn(domain, &asker.name(), vec![issued.log_id], &error.to_string()).await?;
            Err(error)
        }
    }
}

/// Ends the SVID before the one that the agent shows now: a successor that was used has replaced it. Durable when this
/// returns, and before the call that showed the successor goes on.
pub(crate) async fn retire_previous(domain: &Domain, id: &SpiffeId, serial: &str) -> Result<(), StoreError> {
    let (id, serial) = (id.clone(), serial.to_owned());
    domain
        .store
        .write(&domain.name, move |batch| match batch.node(&id)? {
            Some(node) if node.serial == serial && node.previous_serial.is_some() => {
                batch.put_node(Node { previous_serial: None, ..node })
            }
            _ => Ok(()),
        })
        .await
}
