//! Drives the gate: allowed or refused, then the leaf, then the gate again, then the signature (flow 1). The commands that issue
//! pass here; what they refuse, the executor records.

use std::sync::Arc;

use sekisho_disk::DiskError;
use sekisho_events::{Event, IssuanceId, JwtIssued, Selectors, X509Issued};
use sekisho_evidence::EvidenceError;
use sekisho_identity::{
    AgentKey, Allowed, Caller, ISSUANCE_CLAIM, Issuance, LeafTemplate, Limits, Node, Refusal, Request, Standing,
    assemble_certificate, authorize, issuance_to_claim, leaf_tbs,
};
use sekisho_jose::Mint;
use sekisho_ledger::sha256_of;
use sekisho_runtime::now;
use sekisho_types::{Digest, EntryId, Signer, SpiffeId, UnixTime, Verified};

use crate::authorities::{AuthorityError, Signing};
use crate::budget::Budgets;
use crate::denied::Denied;
use crate::domain::{Domain, Identity};
use crate::journal::{self, JournalError, Stamp, Written, personal};
use crate::recent::Generation;
use crate::refusal::Fault;
use crate::standing::SUPERSEDED;
use crate::view::{State, View};

#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    #[error("no entry `{0}` that this agent serves")]
    NoEntry(EntryId),
    /// What asks for one identity of several is not of the form of a request.
    #[error("{0}")]
    Malformed(String),
    #[error("the certificate signing request: {0}")]
    Csr(String),
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its leaf is in the log, and it was not signed.
    #[error("{why}")]
    Withdrawn { id: IssuanceId, why: Box<Self> },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the ledger did not take the record, so nothing was issued: {0}")]
    Journal(#[from] JournalError),
    #[error("{SUPERSEDED}")]
    Superseded,
    #[error("agent `{0}` asks for more than the log takes from one agent; what it holds stays valid, ask again later")]
    Budget(String),
    #[error("the identity could not be written: {0}")]
    Form(String),
}

impl Fault for IssueError {
    fn is_callers(&self) -> bool {
        match self {
            Self::Authority(_) | Self::Journal(_) => false,
            Self::Denied(denied) => denied.is_callers(),
            _ => true,
        }
    }

    fn says(&self) -> String {
        self.to_string()
    }

    fn says_to_all(&self) -> String {
        match self {
            // Which selectors a process lacks stands in the leaf's commitment.
            Self::Refused(refusal) => refusal.kind().to_owned(),
            Self::Withdrawn { why, .. } => why.says_to_all(),
            _ => self.to_string(),
        }
    }

    fn withdraws(&self) -> &[IssuanceId] {
        match self {
            Self::Withdrawn { id, .. } => std::slice::from_ref(id),
            _ => &[],
        }
    }

    fn is_beyond_budget(&self) -> bool {
        matches!(self, Self::Budget(_))
    }
}

/// Who asks for identities, how it stood when it asked, and by which state.
pub(crate) struct Asker {
    caller: Caller,
    /// Of the SVID that an agent shows.
    serial: String,
    judged_at: Generation,
}

impl Asker {
    pub(crate) fn server(view: &View, own: &Identity) -> Self {
        Self::of(view, own, Caller::Server, String::new())
    }

    /// A node that has just proved who it is.
    pub(crate) fn attested(view: &View, own: &Identity, id: SpiffeId) -> Self {
        Self::of(view, own, Caller::AttestedNode { id }, String::new())
    }

    pub(crate) fn agent(view: &View, own: &Identity, id: Verified<SpiffeId>, serial: String) -> Self {
        Self::of(view, own, Caller::Agent { id, standing: Standing::Unknown, serves: Default::default() }, serial)
    }

    fn of(view: &View, own: &Identity, caller: Caller, serial: String) -> Self {
        view.read(|state| {
            let asker = Self { caller, serial, judged_at: state.generation };
            Self { caller: asker.standing_in(state, &own.server_id), ..asker }
        })
    }

    /// The caller as it stands in this state.
    fn standing_in(&self, state: &State, server_id: &SpiffeId) -> Caller {
        match &self.caller {
            Caller::Agent { id, .. } => {
                let node = state.nodes.get(id.get()).map(AsRef::as_ref);
                let standing = Node::standing(node, &self.serial);
                let serves = node.map(|node| state.serves(node, server_id, now())).unwrap_or_default();
                Caller::Agent { id: id.clone(), standing, serves }
            }
            Caller::Server | Caller::AttestedNode { .. } => self.caller.clone(),
        }
    }

    fn name(&self) -> String {
        caller_name(&self.caller)
    }
}

/// An X.509-SVID and where its issuance stands in the log.
pub(crate) struct IssuedX509 {
    pub spiffe_id: SpiffeId,
    pub certificate: Vec<u8>,
    pub serial: String,
    pub not_after: UnixTime,
    pub log_id: IssuanceId,
    pub log_index: u64,
    /// The state by which it was judged last.
    pub judged_at: Generation,
}

pub(crate) struct IssuedJwt {
    pub spiffe_id: SpiffeId,
    pub token: String,
    pub issued_at: UnixTime,
    pub expires_at: UnixTime,
    pub log_id: IssuanceId,
    pub log_index: u64,
    pub judged_at: Generation,
}

/// Issues an X.509-SVID, which is in the log when this returns.
pub(crate) async fn x509(domain: &Domain, asker: &Asker, request: Request<'_>) -> Result<IssuedX509, IssueError> {
    let (prepared, leaf) = prepare(domain, asker, request)?;
    let log_index = journal::append_leaf(domain, leaf).await?;
    sign(domain, asker, request, prepared, log_index)
}

/// Issues X.509-SVIDs, each for itself; their leaves share one append, and so one wait for the log.
pub(crate) async fn x509_all(
    domain: &Domain,
    asker: &Asker,
    requests: &[Request<'_>],
) -> Vec<Result<IssuedX509, IssueError>> {
    let mut leaves = Vec::with_capacity(requests.len());
    let prepared = requests.iter().map(|request| {
        let (prepared, leaf) = prepare(domain, asker, *request)?;
        leaves.push(leaf);
        Ok::<_, IssueError>(prepared)
    });
    let prepared: Vec<_> = prepared.collect();
    let mut appended = journal::append_leaves(domain, leaves).await.into_iter();
    let issued = prepared.into_iter().zip(requests).map(|(prepared, request)| {
        let prepared = prepared?;
        let unanswered = || Err(JournalError::Disk(Arc::new(DiskError::Rule("a leaf has no index".into()))));
        let log_index = appended.next().unwrap_or_else(unanswered)?;
        sign(domain, asker, *request, prepared, log_index)
    });
    issued.collect()
}

/// What the gate allowed, in the form in which it is signed once its leaf is in the log.
struct Prepared {
    signing: Arc<Signing>,
    allowed: Allowed,
    serial: [u8; 16],
    tbs: Vec<u8>,
}

fn prepare(domain: &Domain, asker: &Asker, request: Request<'_>) -> Result<(Prepared, Written), IssueError> {
    let signing = domain.identity.authorities.signing()?;
    // Before the gate looks: what is revoked after this revision concerns this SVID.
    let revision = domain.view.read(|state| state.revision);
    let allowed = pass_gate(domain, &signing, asker, request)?;
    let origin = Issuance { revision, entry: allowed.entry_id().cloned(), agent: agent_key(&asker.caller) };
    // Positive and of full length (RFC 5280 §4.1.2.2): it begins with the time, so with 1 to 0x7f until the year 6429.
    let serial = domain.new_log_id();
    let leaf = LeafTemplate {
        spiffe_id: allowed.spiffe_id(),
        serial,
        not_before: allowed.not_before(),
        not_after: allowed.not_after(),
        public_key: allowed.public_key(),
        dns_names: allowed.dns_names(),
        claims: allowed.claims(),
        issuance: Some(&origin),
    };
    let tbs = leaf_tbs(&leaf, &signing.issuer).map_err(form)?;
    let leaf = dated(
        domain,
        X509Issued {
            attestors: request.attestors(),
            authority: signing.record.id.clone(),
            caller: personal(asker.name()),
            entry: allowed.entry_id().cloned(),
            evidence: allowed.evidence(),
            id: IssuanceId::new(serial),
            not_after: allowed.not_after(),
            selectors: personal(Selectors::of(request.selectors())),
            spiffe_id: personal(allowed.spiffe_id().clone()),
            tbs_sha256: Digest::new(sha256_of(&tbs)),
        },
    )?;
    let leaf = within_budget(domain, asker, leaf, Budgets::x509)?;
    Ok((Prepared { signing, allowed, serial, tbs }, leaf))
}

/// Signs what is in the log, if it may still be issued.
fn sign(
    domain: &Domain,
    asker: &Asker,
    request: Request<'_>,
    prepared: Prepared,
    log_index: u64,
) -> Result<IssuedX509, IssueError> {
    let Prepared { signing, allowed, serial, tbs } = prepared;
    let log_id = IssuanceId::new(serial);
    let judged_at = pass_gate_again(domain, &signing, asker, request, log_id)?;
    let signature = signing.x509_key.sign(&tbs).map_err(AuthorityError::from)?;
    let certificate = assemble_certificate(&tbs, signing.x509_key.algorithm(), &signature).map_err(form)?;
    Ok(IssuedX509 {
        spiffe_id: allowed.spiffe_id().clone(),
        certificate,
        serial: hex::encode(serial),
        not_after: allowed.not_after(),
        log_id,
        log_index,
        judged_at,
    })
}

fn form(error: sekisho_identity::ProfileError) -> IssueError {
    IssueError::Form(error.to_string())
}

/// Issues a JWT-SVID.
pub(crate) async fn jwt(
    domain: &Domain,
    asker: &Asker,
    request: Request<'_>,
    audience: &[String],
) -> Result<IssuedJwt, IssueError> {
    let signing = domain.identity.authorities.signing()?;
    let revision = domain.view.read(|state| state.revision);
    let allowed = pass_gate(domain, &signing, asker, request)?;
    let origin = Issuance { revision, entry: allowed.entry_id().cloned(), agent: agent_key(&asker.caller) };
    let id = domain.new_log_id();
    let (log_id, token_id) = (IssuanceId::new(id), hex::encode(id));
    let mint = Mint {
        key_id: &signing.jwt_key_id,
        subject: allowed.spiffe_id(),
        audience,
        issued_at: allowed.not_before(),
        expires_at: allowed.not_after(),
        jti: Some(&token_id),
        own_claim: Some((ISSUANCE_CLAIM, issuance_to_claim(&origin))),
    };
    let input = sekisho_jose::signing_input(&mint);
    let leaf = dated(
        domain,
        JwtIssued {
            attestors: request.attestors(),
            audience: personal(audience.join(" ")),
            caller: personal(asker.name()),
            entry: allowed.entry_id().cloned(),
            evidence: allowed.evidence(),
            id: log_id,
            key_id: signing.jwt_key_id.clone(),
            not_after: allowed.not_after(),
            selectors: personal(Selectors::of(request.selectors())),
            spiffe_id: personal(allowed.spiffe_id().clone()),
            tbs_sha256: Digest::new(sha256_of(input.as_bytes())),
        },
    )?;
    let log_index = journal::append_leaf(domain, within_budget(domain, asker, leaf, Budgets::token)?).await?;
    let judged_at = pass_gate_again(domain, &signing, asker, request, log_id)?;
    let signature = signing.jwt_key.sign(input.as_bytes()).map_err(AuthorityError::from)?;
    let token = sekisho_jose::token(&input, &signature);
    let token = token.ok_or_else(|| IssueError::Form("the signature is not of P-256".into()))?;
    Ok(IssuedJwt {
        spiffe_id: allowed.spiffe_id().clone(),
        token,
        issued_at: allowed.not_before(),
        expires_at: allowed.not_after(),
        log_id,
        log_index,
        judged_at,
    })
}

fn limits(domain: &Domain, signing: &Signing) -> Limits {
    Limits {
        trust_domain: domain.identity.name.clone(),
        x509_ttl_seconds: domain.settings.x509_ttl_seconds,
        jwt_ttl_seconds: domain.settings.jwt_ttl_seconds,
        node_ttl_seconds: domain.settings.agent_ttl_seconds,
        evidence_max_age_seconds: 60,
        authority_ends: signing.record.not_after,
    }
}

fn pass_gate(domain: &Domain, signing: &Signing, asker: &Asker, request: Request<'_>) -> Result<Allowed, IssueError> {
    Ok(authorize(&asker.caller, request, &limits(domain, signing), now())?)
}

/// Judges again after the wait for the log, by the state as it is now (law L6). Refused here, nothing is signed.
fn pass_gate_again(
    domain: &Domain,
    signing: &Signing,
    asker: &Asker,
    request: Request<'_>,
    id: IssuanceId,
) -> Result<Generation, IssueError> {
    let judged = judge_again(domain, signing, asker, request);
    judged.map_err(|why| IssueError::Withdrawn { id, why: Box::new(why) })
}

fn judge_again(
    domain: &Domain,
    signing: &Signing,
    asker: &Asker,
    request: Request<'_>,
) -> Result<Generation, IssueError> {
    if !domain.identity.authorities.holds(&signing.record.id) {
        return Err(AuthorityError::None.into());
    }
    let (judged_at, caller) = domain.view.read(|state| {
        if state.generation == asker.judged_at {
            return Ok((state.generation, None));
        }
        if let Some(entry) = request.entry() {
            match state.entries.get(&entry.id) {
                None => return Err(Refusal::ForeignEntry(entry.id.clone())),
                Some(known) if **known != *entry => return Err(Refusal::EntryChanged(entry.id.clone())),
                Some(_) => {}
            }
        }
        match &asker.caller {
            Caller::AttestedNode { id } if state.nodes.get(id).is_some_and(|node| node.banned) => {
                Err(Refusal::AgentBanned(id.clone()))
            }
            _ => Ok((state.generation, Some(asker.standing_in(state, &domain.identity.server_id)))),
        }
    })?;
    match authorize(caller.as_ref().unwrap_or(&asker.caller), request, &limits(domain, signing), now()) {
        Ok(_) => Ok(judged_at),
        // An honest agent asked on the connection that it is leaving.
        Err(Refusal::AgentSuperseded(_)) => Err(IssueError::Superseded),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The leaf, if the agent that asks may put one more of its size into the log.
fn within_budget(
    domain: &Domain,
    asker: &Asker,
    leaf: Written,
    take: fn(&Budgets, &SpiffeId, usize, UnixTime) -> bool,
) -> Result<Written, IssueError> {
    match &asker.caller {
        Caller::Agent { id, .. } if !take(&domain.limits.budgets, id.get(), leaf.length(), now()) => {
            Err(IssueError::Budget(id.get().to_string()))
        }
        _ => Ok(leaf),
    }
}

/// The leaf of an issuance says by which state: a database that does not know that revision is an older one. The view follows
/// commits, so it is committed.
fn dated(domain: &Domain, event: impl Into<Event>) -> Result<Written, JournalError> {
    let revision = domain.view.read(|state| state.revision);
    Ok(Written::of(Stamp::now(domain).leaf(event).at_state(revision))?)
}

fn agent_key(caller: &Caller) -> Option<AgentKey> {
    match caller {
        Caller::Server => None,
        Caller::AttestedNode { id } => Some(AgentKey::of(id)),
        Caller::Agent { id, .. } => Some(AgentKey::of(id.get())),
    }
}

fn caller_name(caller: &Caller) -> String {
    match caller {
        Caller::Server => "server".to_owned(),
        Caller::AttestedNode { id } => id.to_string(),
        Caller::Agent { id, .. } => id.get().to_string(),
    }
}
