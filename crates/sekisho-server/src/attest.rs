//! Node attestation: join tokens and x509pop. Whatever proves the node, what follows is the same.

use std::collections::BTreeSet;

use sekisho_events::{AttestationId, Attested};
use sekisho_evidence::{NodeCertificate, TokenError, X509PopError, check_token, node_evidence, token_hash};
use sekisho_identity::{Csr, Node, Request, Standing};
use sekisho_runtime::now;
use sekisho_store::{StoreError, TokenUse};
use sekisho_types::{Selector, SpiffeId, UnixTime, Verified};

use crate::counters::Counters;
use crate::domain::Domain;
use crate::grpc::AgentCaller;
use crate::issue::{self, Asker, IssueError, IssuedX509};
use crate::journal::{self, JournalError, personal};

#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(
        "the join token is unknown or was used before; create another with `sekisho token create --agent-id <agent>`"
    )]
    TokenUnknown,
    #[error("the join token has expired; create another with `sekisho token create --agent-id <agent>`")]
    TokenExpired,
    #[error(transparent)]
    X509Pop(#[from] X509PopError),
    #[error("node attestation by certificate is not set up here (`--x509pop-ca`)")]
    X509PopOff,
    #[error("agent `{0}` is banned")]
    Banned(SpiffeId),
    #[error("an agent that can attest again does so in place of renewing")]
    MustReattest,
    #[error("the agent changed while its SVID was renewed")]
    Changed(Standing),
    #[error("the agent's ID cannot be formed: {0}")]
    AgentId(#[from] sekisho_types::SpiffeIdError),
    #[error("the certificate signing request: {0}")]
    Csr(String),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A node that has proved who it is.
pub(crate) struct Proved {
    pub attestor: &'static str,
    pub id: SpiffeId,
    pub selectors: BTreeSet<Selector>,
    pub can_reattest: bool,
    /// The end of what it proved itself with.
    pub ends_at: Option<UnixTime>,
}

/// Spends a join token. Spending is one statement in one batch, so of two callers one wins.
pub(crate) async fn by_token(domain: &Domain, payload: &[u8]) -> Result<Proved, AttestError> {
    let token = std::str::from_utf8(payload).map_err(|_| TokenError)?;
    check_token(token)?;
    let hash = token_hash(token).to_string();
    let spent: Result<TokenUse, StoreError> =
        domain.store.write(&domain.name, move |batch| batch.spend_token(&hash, now())).await;
    match spent? {
        TokenUse::Spent { agent_id } => {
            let (attestor, selectors) = ("join_token", BTreeSet::new());
            Ok(Proved { attestor, id: agent_id, selectors, can_reattest: false, ends_at: None })
        }
        TokenUse::Expired => Err(AttestError::TokenExpired),
        TokenUse::Unknown => Err(AttestError::TokenUnknown),
    }
}

/// Checks a node's certificate; the caller then sends the challenge.
pub(crate) fn certificate(domain: &Domain, payload: &[u8]) -> Result<Verified<NodeCertificate>, AttestError> {
    let roots = &domain.settings.x509pop_roots;
    if roots.is_empty() {
        return Err(AttestError::X509PopOff);
    }
    Ok(NodeCertificate::verify(payload, roots, &domain.name, now())?)
}

/// Checks the answer to the challenge.
pub(crate) fn by_certificate(
    domain: &Domain,
    certificate: &Verified<NodeCertificate>,
    nonce: &[u8; 32],
    answer: &[u8],
) -> Result<Proved, AttestError> {
    let certificate = certificate.get();
    certificate.verify_answer(nonce, answer)?;
    let id = domain.name.workload(&format!("/spire/agent/x509pop/{}", certificate.fingerprint))?;
    let (selectors, ends_at) = (certificate.selectors.clone(), Some(certificate.ends_at));
    Ok(Proved { attestor: "x509pop", id, selectors, can_reattest: true, ends_at })
}

/// Issues the agent's SVID and registers the node. The attestation is in the log before the agent hears of it.
pub(crate) async fn admit(
    domain: &Domain,
    proved: Proved,
    csr: &Verified<Csr>,
    group: &str,
) -> Result<IssuedX509, AttestError> {
    let known = domain.view.read(|state| state.nodes.get(&proved.id).cloned());
    if known.is_some_and(|node| node.banned) {
        issue::refused(domain, &proved.id.to_string(), "a banned agent attested").await?;
        return Err(AttestError::Banned(proved.id));
    }
    let attested = Attested {
        agent: personal(proved.id.clone()),
        attestor: proved.attestor.to_owned(),
        id: AttestationId::new(domain.new_log_id()),
        tls_group: group.to_owned(),
    };
    journal::append(domain, attested).await?;
    let evidence = node_evidence(proved.attestor, proved.selectors.clone(), proved.ends_at);
    let asker = Asker::attested(domain, proved.id.clone());
    let issued = issue::x509(domain, &asker, Request::NodeSvid { csr, node: &evidence }).await?;
    let mut node = Node {
        id: proved.id,
        attestation_type: proved.attestor.to_owned(),
        serial: issued.serial.clone(),
        previous_serial: None,
        expires_at: issued.not_after,
        selectors: proved.selectors,
        banned: false,
        can_reattest: proved.can_reattest,
        version: String::new(),
    };
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
    let evidence = node_evidence(&agent.node.attestation_type, agent.node.selectors.clone(), None);
    let issued = issue::x509(domain, &asker, Request::NodeSvid { csr: &csr, node: &evidence }).await?;
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
