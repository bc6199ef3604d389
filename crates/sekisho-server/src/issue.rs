//! Drives the gate: allowed or refused, then the leaf, then the gate again, then the signature (flow 1). The commands
//! that issue pass here; what they refuse, the executor records.

use std::sync::Arc;

use sekisho_disk::DiskError;
use sekisho_events::{Event, IssuanceId};
use sekisho_evidence::EvidenceError;
use sekisho_evidence::node::WorkloadKeyError;
use sekisho_identity::{AgentKey, Allowed, Caller, Issuance, Limits, Node, Refusal, Request, Standing, authorize};
use sekisho_runtime::now;
use sekisho_types::{EntryId, SpiffeId, UnixTime, Verified};

use crate::authorities::{AuthorityError, Signing};
use crate::budget::Budgets;
use crate::denied::Denied;
use crate::domain::{Domain, Identity, Settings, Shared};
use crate::journal::{Journal, JournalError, Written};
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
    Key(#[from] WorkloadKeyError),
    #[error("the certification of the workload's key was used before; certify the key again for this request")]
    CertificationUsed,
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
    #[error("agent `{0}` requests more than the log accepts from one agent; its SVIDs stay valid; try again later")]
    Budget(String),
    #[error("the identity could not be written: {0}")]
    Form(String),
}

impl Fault for IssueError {
    fn is_caller_fault(&self) -> bool {
        match self {
            Self::Authority(_) | Self::Journal(_) => false,
            Self::Denied(denied) => denied.is_caller_fault(),
            _ => true,
        }
    }

    fn log_message(&self) -> String {
        self.to_string()
    }

    fn public_message(&self) -> String {
        match self {
            // Which selectors a process lacks stands in the leaf's commitment.
            Self::Refused(refusal) => refusal.kind().to_owned(),
            Self::Withdrawn { why, .. } => why.public_message(),
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

/// Who requests identities, with its standing at the time of the request, and the state of that time.
pub(crate) struct Requester {
    caller: Caller,
    /// What the identities say of an agent that requests them.
    agent_key: Option<AgentKey>,
    /// Of the SVID that an agent shows.
    serial: String,
    judged_at: Generation,
}

impl Requester {
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
            let agent_key = agent_key(&caller);
            let requester = Self { caller, agent_key, serial, judged_at: state.generation };
            Self { caller: requester.current_caller(state, &own.server_id), ..requester }
        })
    }

    /// The caller with its standing in this state.
    fn current_caller(&self, state: &State, server_id: &SpiffeId) -> Caller {
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

    pub(crate) fn name(&self) -> String {
        match &self.caller {
            Caller::Server => "server".to_owned(),
            Caller::AttestedNode { id } => id.to_string(),
            Caller::Agent { id, .. } => id.get().to_string(),
        }
    }

    /// Its key in the fair queue.
    fn queue_key(&self, own: &Identity) -> SpiffeId {
        match &self.caller {
            Caller::Server => own.server_id.clone(),
            Caller::AttestedNode { id } => id.clone(),
            Caller::Agent { id, .. } => id.get().clone(),
        }
    }
}

/// A kind of identity: what of it is signed, what the log says of it first, and what a signature makes of it.
pub(crate) trait Kind: Copy + Send + Sync + 'static {
    type Identity: Send + 'static;

    /// Takes a leaf of some length from the budget of the agent that asks.
    const BUDGET: fn(&Budgets, &SpiffeId, usize, UnixTime) -> bool;

    fn draft(&self, allowed: &Allowed, basis: &Basis<'_>) -> Result<Draft, IssueError>;

    fn sign(&self, signing: &Signing, id: [u8; 16], draft: &[u8]) -> Result<Self::Identity, IssueError>;
}

/// What an issuance rests on besides the gate's word.
pub(crate) struct Basis<'a> {
    pub signing: &'a Signing,
    pub origin: Issuance,
    pub requester: &'a Requester,
    pub request: Request<'a>,
    /// It begins with the time.
    pub id: [u8; 16],
}

/// What is to be signed, and its leaf.
pub(crate) struct Draft {
    pub to_sign: Vec<u8>,
    pub event: Event,
}

/// An identity, and where its issuance stands in the log.
pub(crate) struct Issued<T> {
    pub identity: T,
    pub spiffe_id: SpiffeId,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    pub log_id: IssuanceId,
    pub log_index: u64,
    /// The state by which it was judged last.
    pub judged_at: Generation,
}

/// What issuing takes of a trust domain.
#[derive(Clone, Copy)]
pub(crate) struct Issuer<'a> {
    identity: &'a Identity,
    settings: &'a Settings,
    view: &'a View,
    limits: &'a crate::domain::Limits,
    journal: Journal<'a>,
}

impl Domain {
    pub(crate) fn issuer(&self) -> Issuer<'_> {
        let Self { identity, settings, view, limits, .. } = self;
        Issuer { identity, settings, view, limits, journal: self.journal() }
    }
}

/// What is asked for. It is owned, since whichever thread is free works on it.
pub(crate) trait Asked: Send + 'static {
    fn request(&self) -> Request<'_>;
}

/// Issues an identity, which is in the log when this returns.
pub(crate) async fn issue<K: Kind, A: Asked>(
    domain: &Shared,
    requester: &Arc<Requester>,
    kind: K,
    asked: A,
) -> Result<Issued<K::Identity>, IssueError> {
    let issued = issue_all(domain, requester, kind, vec![asked], Ok).await.pop();
    issued.unwrap_or_else(|| Err(IssueError::Form("it was not answered".into()))).map(|(issued, _)| issued)
}

/// Issues identities, each for itself; their leaves share one append, and so one wait for the log. Work that takes the
/// processor waits in the fair queue (decisions/0043): `read` and the leaf, then the signature.
pub(crate) async fn issue_all<K: Kind, I: Send + 'static, A: Asked>(
    domain: &Shared,
    requester: &Arc<Requester>,
    kind: K,
    items: Vec<I>,
    read: impl Fn(I) -> Result<A, IssueError> + Clone + Send + 'static,
) -> Vec<Result<(Issued<K::Identity>, A), IssueError>> {
    let (queue, agent) = (&domain.limits.queue, requester.queue_key(&domain.identity));
    let (of, by) = (domain.clone(), requester.clone());
    let drafting = move |item| {
        let asked = read(item)?;
        let (drafted, leaf) = draft(&of.issuer(), &by, asked.request(), &kind)?;
        Ok((drafted, leaf, asked))
    };
    let mut leaves = Vec::with_capacity(items.len());
    let mut apart = |(drafted, leaf, asked)| {
        leaves.push(leaf);
        (drafted, asked)
    };
    let drafted: Vec<Result<_, IssueError>> = queue.each(&agent, items, drafting).await;
    let drafted: Vec<_> = drafted.into_iter().map(|result| result.map(&mut apart)).collect();
    let mut appended = domain.journal().append_leaves(leaves).await.into_iter();
    let mut indexed = |drafted: Result<_, IssueError>| {
        let drafted = drafted?;
        let no_index = || Err(JournalError::Disk(Arc::new(DiskError::Rule("a leaf has no index".into()))));
        Ok((drafted, appended.next().unwrap_or_else(no_index)?))
    };
    let indexed: Vec<Result<_, IssueError>> = drafted.into_iter().map(&mut indexed).collect();
    let (of, by) = (domain.clone(), requester.clone());
    let signing = move |drafted: Result<((Drafted, A), u64), IssueError>| {
        let ((drafted, asked), log_index) = drafted?;
        Ok((sign(&of.issuer(), &by, asked.request(), &kind, drafted, log_index)?, asked))
    };
    queue.each(&agent, indexed, signing).await
}

/// What the gate allowed, in the form in which it is signed once its leaf is in the log.
struct Drafted {
    signing: Arc<Signing>,
    allowed: Allowed,
    id: [u8; 16],
    to_sign: Vec<u8>,
}

fn draft<K: Kind>(
    of: &Issuer<'_>,
    requester: &Requester,
    request: Request<'_>,
    kind: &K,
) -> Result<(Drafted, Written), IssueError> {
    let signing = of.identity.authorities.signing()?;
    // Before the gate looks: what is revoked after this revision concerns this identity.
    let (revision, required) = of.view.read(|state| (state.revision, state.required));
    let allowed = authorize(&requester.caller, request, &limits(of, &signing), now())?;
    let agent = requester.agent_key;
    let origin = Issuance { revision, entry: allowed.entry_id().cloned(), agent, required: agent.map(|_| required) };
    let id = of.journal.new_id();
    let Draft { to_sign, event } =
        kind.draft(&allowed, &Basis { signing: &signing, origin, requester, request, id })?;
    let leaf = within_budget(of, requester, dated(of, event)?, K::BUDGET)?;
    Ok((Drafted { signing, allowed, id, to_sign }, leaf))
}

/// Signs what is in the log, if it may still be issued.
fn sign<K: Kind>(
    of: &Issuer<'_>,
    requester: &Requester,
    request: Request<'_>,
    kind: &K,
    drafted: Drafted,
    log_index: u64,
) -> Result<Issued<K::Identity>, IssueError> {
    let Drafted { signing, allowed, id, to_sign } = drafted;
    let log_id = IssuanceId::new(id);
    let judged_at = pass_gate_again(of, &signing, requester, request, log_id)?;
    Ok(Issued {
        identity: kind.sign(&signing, id, &to_sign)?,
        spiffe_id: allowed.spiffe_id().clone(),
        not_before: allowed.not_before(),
        not_after: allowed.not_after(),
        log_id,
        log_index,
        judged_at,
    })
}

fn limits(of: &Issuer<'_>, signing: &Signing) -> Limits {
    Limits {
        trust_domain: of.identity.name.clone(),
        x509_ttl_seconds: of.settings.x509_ttl_seconds,
        jwt_ttl_seconds: of.settings.jwt_ttl_seconds,
        node_ttl_seconds: of.settings.agent_ttl_seconds,
        evidence_max_age_seconds: 60,
        authority_ends: signing.record.not_after,
    }
}

/// Judges again after the wait for the log, by the state as it is now (law L6). Refused here, nothing is signed.
fn pass_gate_again(
    of: &Issuer<'_>,
    signing: &Signing,
    requester: &Requester,
    request: Request<'_>,
    id: IssuanceId,
) -> Result<Generation, IssueError> {
    let judged = judge_again(of, signing, requester, request);
    judged.map_err(|why| IssueError::Withdrawn { id, why: Box::new(why) })
}

fn judge_again(
    of: &Issuer<'_>,
    signing: &Signing,
    requester: &Requester,
    request: Request<'_>,
) -> Result<Generation, IssueError> {
    if !of.identity.authorities.holds(&signing.record.id) {
        return Err(AuthorityError::None.into());
    }
    let (judged_at, caller) = of.view.read(|state| {
        if state.generation == requester.judged_at {
            return Ok((state.generation, None));
        }
        if let Some(entry) = request.entry() {
            match state.entries.get(&entry.id) {
                None => return Err(Refusal::ForeignEntry(entry.id.clone())),
                Some(known) if **known != *entry => return Err(Refusal::EntryChanged(entry.id.clone())),
                Some(_) => {}
            }
        }
        match &requester.caller {
            Caller::AttestedNode { id } if state.nodes.get(id).is_some_and(|node| node.banned) => {
                Err(Refusal::AgentBanned(id.clone()))
            }
            _ => Ok((state.generation, Some(requester.current_caller(state, &of.identity.server_id)))),
        }
    })?;
    match authorize(caller.as_ref().unwrap_or(&requester.caller), request, &limits(of, signing), now()) {
        Ok(_) => Ok(judged_at),
        // An honest agent asked on the connection that it is leaving.
        Err(Refusal::AgentSuperseded(_)) => Err(IssueError::Superseded),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The leaf, if the agent that asks may put one more of its size into the log.
fn within_budget(
    of: &Issuer<'_>,
    requester: &Requester,
    leaf: Written,
    take: fn(&Budgets, &SpiffeId, usize, UnixTime) -> bool,
) -> Result<Written, IssueError> {
    match &requester.caller {
        Caller::Agent { id, .. } if !take(&of.limits.budgets, id.get(), leaf.length(), now()) => {
            Err(IssueError::Budget(id.get().to_string()))
        }
        _ => Ok(leaf),
    }
}

/// The leaf of an issuance says by which state: a database that does not know that revision is an older one. The view
/// follows commits, so it is committed.
fn dated(of: &Issuer<'_>, event: Event) -> Result<Written, IssueError> {
    let revision = of.view.read(|state| state.revision);
    Written::of(of.journal.leaf(event).at_state(revision)).map_err(|error| match error.is_too_long() {
        true => IssueError::Form(error.to_string()),
        false => IssueError::Journal(error.into()),
    })
}

fn agent_key(caller: &Caller) -> Option<AgentKey> {
    match caller {
        Caller::Server => None,
        Caller::AttestedNode { id } => Some(AgentKey::of(id)),
        Caller::Agent { id, .. } => Some(AgentKey::of(id.get())),
    }
}
