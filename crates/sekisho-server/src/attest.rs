//! Node attestation: join tokens and x509pop. Whatever proves the node, what follows is the same.

use std::collections::BTreeSet;

use sekisho_evidence::{NodeCertificate, TokenError, X509PopError, check_token, node_evidence, token_hash};
use sekisho_identity::{Caller, Csr, Node, Request};
use sekisho_ledger::Kind;
use sekisho_runtime::now;
use sekisho_store::{StoreError, TokenUse};
use sekisho_types::{Selector, SpiffeId, Verified};

use crate::counters::Counters;
use crate::domain::Domain;
use crate::issue::{self, IssueError, IssuedX509};
use crate::journal::{Entry, JournalError};

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
            Ok(Proved { attestor: "join_token", id: agent_id, selectors: BTreeSet::new(), can_reattest: false })
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
    Ok(NodeCertificate::verify(payload, roots, now())?)
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
    Ok(Proved { attestor: "x509pop", id, selectors: certificate.selectors.clone(), can_reattest: true })
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
    let attestation_id = format!("att_{}", hex::encode(domain.new_log_id()));
    Entry::new(domain, Kind::Attestation)
        .text("id", attestation_id)
        .text("attestor", proved.attestor)
        .text("tls_group", group)
        .personal("agent", proved.id.to_string())
        .append(domain)
        .await?;
    let evidence = node_evidence(proved.attestor, proved.selectors.clone(), now());
    let caller = Caller::AttestedNode { id: proved.id.clone() };
    let issued = issue::x509(domain, &caller, Request::NodeSvid { csr }, &[evidence]).await?;
    let node = Node {
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
            // A ban that came meanwhile stands.
            let banned = batch.node(&node.id)?.is_some_and(|known| known.banned);
            if !banned {
                batch.put_node(node)?;
            }
            Ok(!banned)
        })
        .await;
    if written? { Ok(issued) } else { Err(AttestError::Banned(id)) }
}

/// Renews an agent's SVID. The one it shows now stays good until the next renewal, in case the answer is lost.
pub(crate) async fn renew(
    domain: &Domain,
    caller: &Caller,
    shown: &str,
    csr: &[u8],
) -> Result<IssuedX509, AttestError> {
    let csr = match Csr::verify(csr) {
        Ok(csr) => csr,
        Err(error) => {
            issue::refused(domain, &issue::caller_name(caller), &error.to_string()).await.map_err(IssueError::from)?;
            return Err(AttestError::Csr(error.to_string()));
        }
    };
    let known = match caller {
        Caller::Agent { id, .. } => domain.view.read(|state| state.nodes.get(id.get()).cloned()),
        _ => None,
    };
    let evidence = known.as_ref().map(|node| node_evidence(&node.attestation_type, node.selectors.clone(), now()));
    let issued = issue::x509(domain, caller, Request::NodeSvid { csr: &csr }, evidence.as_slice()).await?;
    let shown = shown.to_owned();
    let (id, serial, expires) = (issued.spiffe_id.clone(), issued.serial.clone(), issued.not_after);
    let written: Result<(), StoreError> = domain
        .store
        .write(&domain.name, move |batch| {
            let Some(mut node) = batch.node(&id)? else { return Ok(()) };
            node.previous_serial = Some(shown);
            node.serial = serial;
            node.expires_at = expires;
            batch.put_node(node)
        })
        .await;
    written?;
    Ok(issued)
}
