//! The one gate (law L1): every identity that Sekisho issues was allowed here, and [`Allowed`] has no other
//! constructor.

use std::collections::BTreeSet;

use sekisho_evidence::node::ResidentKey;
use sekisho_evidence::{Age, Evidence};
use sekisho_types::{ClaimValue, Claims, EntryId, EvidenceClass, Selector, SpiffeId, TrustDomain, UnixTime, Verified};

use crate::{BACKDATE_SECONDS, Csr, Entry};

/// The caller, as the transport verified it.
#[derive(Debug, Clone)]
pub enum Caller {
    /// This server, for its own TLS certificate.
    Server,
    /// A node whose attestation was just checked.
    AttestedNode { id: SpiffeId },
    /// An agent known by its SVID.
    Agent { id: Verified<SpiffeId>, standing: Standing, serves: BTreeSet<SpiffeId> },
}

/// How an agent stands with this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Good,
    /// Evicted, or of another server's making.
    Unknown,
    Banned,
    /// Its SVID was replaced by a later one.
    Superseded,
}

/// The requested identity, with its evidence.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    ServerSvid {
        public_key: &'a [u8],
    },
    NodeSvid {
        csr: &'a Verified<Csr>,
        evidence: &'a Evidence,
    },
    WorkloadX509 {
        entry: &'a Entry,
        csr: &'a Verified<Csr>,
        shown: WorkloadProof,
        evidence: &'a Evidence,
        /// The key of the request, where it is known to be in the TPM of the node.
        resident: Option<&'a ResidentKey>,
    },
    WorkloadJwt {
        entry: &'a Entry,
        audience: &'a [String],
        shown: WorkloadProof,
        evidence: &'a Evidence,
    },
}

/// What a request for a workload's identity proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkloadProof {
    /// SPIRE's API: the agent vouches for the process without evidence. The identity's claims state this.
    NodeOnly,
    Process,
}

/// Evidence that a kind of request needs.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// Of some class about this.
    Any(EvidenceClass),
    /// Of this class.
    Class(&'static str),
}

/// The evidence behind a request: all that it needs, and nothing about another subject.
#[derive(Debug)]
struct Rule {
    needs: &'static [Need],
    takes: &'static [EvidenceClass],
}

/// One row for each kind of request. A new class of evidence counts by its subject; a *required* class is named here.
const SERVER: Rule = Rule { needs: &[], takes: &[] };
const NODE: Rule = Rule { needs: &[Need::Any(EvidenceClass::Node)], takes: &[EvidenceClass::Node] };
const VOUCHED_WORKLOAD: Rule = NODE;
const WORKLOAD: Rule = Rule {
    needs: &[Need::Any(EvidenceClass::Node), Need::Class("unix")],
    takes: &[EvidenceClass::Node, EvidenceClass::Process],
};

impl<'a> Request<'a> {
    const fn rule(&self) -> &'static Rule {
        match self {
            Self::ServerSvid { .. } => &SERVER,
            Self::NodeSvid { .. } => &NODE,
            Self::WorkloadX509 { shown, .. } | Self::WorkloadJwt { shown, .. } => match shown {
                WorkloadProof::NodeOnly => &VOUCHED_WORKLOAD,
                WorkloadProof::Process => &WORKLOAD,
            },
        }
    }

    pub const fn entry(&self) -> Option<&'a Entry> {
        match self {
            Self::WorkloadX509 { entry, .. } | Self::WorkloadJwt { entry, .. } => Some(entry),
            Self::ServerSvid { .. } | Self::NodeSvid { .. } => None,
        }
    }

    /// For whom a token is meant; empty for other identities.
    pub const fn audience(&self) -> &'a [String] {
        match self {
            Self::WorkloadJwt { audience, .. } => audience,
            _ => &[],
        }
    }

    const fn evidence(&self) -> Option<&'a Evidence> {
        match self {
            Self::NodeSvid { evidence, .. }
            | Self::WorkloadX509 { evidence, .. }
            | Self::WorkloadJwt { evidence, .. } => Some(evidence),
            Self::ServerSvid { .. } => None,
        }
    }

    const fn resident(&self) -> Option<&'a ResidentKey> {
        match self {
            Self::WorkloadX509 { resident, .. } => *resident,
            _ => None,
        }
    }

    /// What the identity is, and its evidence is about.
    const fn subject(&self) -> EvidenceClass {
        match self {
            Self::ServerSvid { .. } | Self::NodeSvid { .. } => EvidenceClass::Node,
            Self::WorkloadX509 { .. } | Self::WorkloadJwt { .. } => EvidenceClass::Process,
        }
    }

    /// The attestors of the evidence about who gets the identity, for the log; empty without any.
    pub fn attestors(&self) -> String {
        self.evidence().map(|evidence| evidence.sources(self.subject())).unwrap_or_default()
    }

    /// Their selectors.
    pub fn selectors(&self) -> impl Iterator<Item = &'a Selector> {
        let subject = self.subject();
        self.evidence().into_iter().flat_map(move |evidence| evidence.selectors(subject))
    }
}

/// The bounds in force.
#[derive(Debug, Clone)]
pub struct Limits {
    pub trust_domain: TrustDomain,
    pub x509_ttl_seconds: u32,
    pub jwt_ttl_seconds: u32,
    pub node_ttl_seconds: u32,
    pub evidence_max_age_seconds: i64,
    /// No signature outlives its authority.
    pub authority_ends: UnixTime,
}

/// Why nothing is issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("agent `{0}` is banned")]
    AgentBanned(SpiffeId),
    #[error("agent `{0}` is not attested here; it must attest again")]
    AgentUnknown(SpiffeId),
    #[error("agent `{0}` shows an SVID that was replaced by a later one")]
    AgentSuperseded(SpiffeId),
    #[error("this caller may not request that: {0}")]
    WrongCaller(&'static str),
    #[error("entry `{0}` is not one that this agent serves")]
    ForeignEntry(EntryId),
    #[error("entry `{0}` has expired")]
    EntryExpired(EntryId),
    #[error("entry `{0}` changed while its identity was issued; ask again")]
    EntryChanged(EntryId),
    #[error("the process lacks a selector of entry `{entry}`: {}", list(.missing))]
    Selectors { entry: EntryId, missing: Vec<Selector> },
    #[error("the evidence was measured {0} s ago; measure again")]
    EvidenceStale(i64),
    #[error("the evidence was measured {0} s in the future; check the node's clock")]
    EvidenceAhead(i64),
    #[error("the node's evidence has expired; renew the node's certificate")]
    EvidenceExpired,
    #[error("the evidence shows nothing of {0}")]
    EvidenceMissing(&'static str),
    #[error("evidence of class `{0}` does not belong to this request")]
    EvidenceForeign(&'static str),
    #[error("the CSR names `{0}`, which is not the identity that would be issued")]
    CsrName(SpiffeId),
    #[error(
        "entry `{0}` wants a key in the TPM of the node, and nothing certifies that the key of the request is there; \
            its agent needs `--tpm`, and SPIRE's API cannot carry a certification"
    )]
    KeyNotCertified(EntryId),
    #[error(
        "entry `{0}` wants a key in the TPM of the node, and a JWT-SVID is bound to no key; give tokens another entry"
    )]
    TokenWithoutKey(EntryId),
    #[error("a JWT-SVID needs between 1 and 16 audiences of at most 512 bytes each")]
    Audience,
    #[error("the authority has expired: no key can sign now")]
    AuthorityExpired,
    #[error("the identity lies outside trust domain `{0}`")]
    ForeignTrustDomain(TrustDomain),
}

impl Refusal {
    /// One word for it, without details.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AgentBanned(_) => "agent banned",
            Self::AgentUnknown(_) => "agent unknown",
            Self::AgentSuperseded(_) => "agent superseded",
            Self::WrongCaller(_) => "wrong caller",
            Self::ForeignEntry(_) => "foreign entry",
            Self::EntryExpired(_) => "entry expired",
            Self::EntryChanged(_) => "entry changed",
            Self::Selectors { .. } => "selectors",
            Self::EvidenceStale(_) => "evidence stale",
            Self::EvidenceAhead(_) => "evidence ahead",
            Self::EvidenceExpired => "evidence expired",
            Self::EvidenceMissing(_) => "evidence missing",
            Self::EvidenceForeign(_) => "evidence foreign",
            Self::CsrName(_) => "name in the CSR",
            Self::KeyNotCertified(_) => "key not certified by the node's TPM",
            Self::TokenWithoutKey(_) => "token bound to no key",
            Self::Audience => "audience",
            Self::AuthorityExpired => "authority expired",
            Self::ForeignTrustDomain(_) => "foreign trust domain",
        }
    }
}

fn list(selectors: &[Selector]) -> String {
    selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// An identity that may be issued, exactly as written here.
#[derive(Debug, Clone)]
pub struct Allowed {
    spiffe_id: SpiffeId,
    entry_id: Option<EntryId>,
    public_key: Vec<u8>,
    not_before: UnixTime,
    not_after: UnixTime,
    claims: Claims,
    dns_names: Vec<String>,
    evidence: EvidenceClass,
}

impl Allowed {
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    pub const fn entry_id(&self) -> Option<&EntryId> {
        self.entry_id.as_ref()
    }

    /// DER SubjectPublicKeyInfo; empty for a JWT-SVID, which is bound to no key.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    pub const fn not_before(&self) -> UnixTime {
        self.not_before
    }

    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    pub const fn evidence(&self) -> EvidenceClass {
        self.evidence
    }
}

/// Decides whether `request` of `caller` is issued, on what terms, and with which claims.
pub fn authorize(caller: &Caller, request: Request<'_>, limits: &Limits, now: UnixTime) -> Result<Allowed, Refusal> {
    match (caller, request) {
        (Caller::Server, Request::ServerSvid { public_key }) => {
            let id = limits.trust_domain.workload("/spire/server");
            let id = id.map_err(|_| Refusal::ForeignTrustDomain(limits.trust_domain.clone()))?;
            allow(id, public_key, limits.x509_ttl_seconds.max(3600), &request, limits, now)
        }
        (Caller::AttestedNode { id }, Request::NodeSvid { csr, .. }) => node(id, csr, &request, limits, now),
        (Caller::Agent { id, standing, .. }, Request::NodeSvid { csr, .. }) => {
            check_standing(id.get(), *standing)?;
            node(id.get(), csr, &request, limits, now)
        }
        (Caller::Agent { id, standing, serves }, Request::WorkloadX509 { entry, csr, .. }) => {
            check_standing(id.get(), *standing)?;
            check_entry(entry, serves, &request, limits, now)?;
            check_csr_name(csr, &entry.spiffe_id)?;
            check_key(entry, csr, &request)?;
            let ttl = or_default(entry.x509_ttl_seconds, limits.x509_ttl_seconds);
            let mut allowed = allow(entry.spiffe_id.clone(), &csr.get().public_key, ttl, &request, limits, now)?;
            allowed.dns_names.clone_from(&entry.dns_names);
            Ok(allowed)
        }
        (Caller::Agent { id, standing, serves }, Request::WorkloadJwt { entry, audience, .. }) => {
            check_standing(id.get(), *standing)?;
            check_entry(entry, serves, &request, limits, now)?;
            if entry.tpm_key {
                return Err(Refusal::TokenWithoutKey(entry.id.clone()));
            }
            if !(1..=16).contains(&audience.len()) || audience.iter().any(|a| a.is_empty() || a.len() > 512) {
                return Err(Refusal::Audience);
            }
            // Law L7: a token that is not bound to a key lives five minutes at most.
            let ttl = or_default(entry.jwt_ttl_seconds, limits.jwt_ttl_seconds).min(300);
            let mut allowed = allow(entry.spiffe_id.clone(), &[], ttl, &request, limits, now)?;
            // A verifier counts a token's life from its `iat`, so it is not backdated.
            allowed.not_before = now;
            Ok(allowed)
        }
        (_, Request::ServerSvid { .. }) => Err(Refusal::WrongCaller("only the server asks for the server's SVID")),
        (_, Request::NodeSvid { .. }) => Err(Refusal::WrongCaller("only a node asks for a node's SVID")),
        (_, Request::WorkloadX509 { .. } | Request::WorkloadJwt { .. }) => {
            Err(Refusal::WrongCaller("only an attested agent asks for a workload's SVID"))
        }
    }
}

fn check_standing(id: &SpiffeId, standing: Standing) -> Result<(), Refusal> {
    match standing {
        Standing::Good => Ok(()),
        Standing::Unknown => Err(Refusal::AgentUnknown(id.clone())),
        Standing::Banned => Err(Refusal::AgentBanned(id.clone())),
        Standing::Superseded => Err(Refusal::AgentSuperseded(id.clone())),
    }
}

fn check_entry(
    entry: &Entry,
    serves: &BTreeSet<SpiffeId>,
    request: &Request<'_>,
    limits: &Limits,
    now: UnixTime,
) -> Result<(), Refusal> {
    if !serves.contains(&entry.parent_id) {
        return Err(Refusal::ForeignEntry(entry.id.clone()));
    }
    if entry.is_expired(now) {
        return Err(Refusal::EntryExpired(entry.id.clone()));
    }
    check_evidence(request, limits, now)?;
    if matches!(request.rule().takes, [EvidenceClass::Node]) {
        // The agent matched them.
        return Ok(());
    }
    let shown: BTreeSet<&Selector> = request.selectors().collect();
    let missing: Vec<Selector> = entry.selectors.iter().filter(|wanted| !shown.contains(wanted)).cloned().collect();
    if !missing.is_empty() || entry.selectors.is_empty() {
        return Err(Refusal::Selectors { entry: entry.id.clone(), missing });
    }
    Ok(())
}

/// Checks that the evidence is complete for this kind of request, and that each piece is still valid.
fn check_evidence(request: &Request<'_>, limits: &Limits, now: UnixTime) -> Result<(), Refusal> {
    let (rule, pieces) = (request.rule(), request.evidence().map(Evidence::pieces).unwrap_or_default());
    for piece in pieces {
        if !rule.takes.contains(&piece.class().about) {
            return Err(Refusal::EvidenceForeign(piece.class().name));
        }
        if piece.class().age == Age::Fresh {
            check_age(now.seconds_since(piece.measured_at()), limits)?;
        }
        if piece.ends_at().is_some_and(|end| end <= now) {
            return Err(Refusal::EvidenceExpired);
        }
    }
    for need in rule.needs {
        let (met, what) = match need {
            Need::Any(about) => (pieces.iter().any(|piece| piece.class().about == *about), about.as_str()),
            Need::Class(name) => (pieces.iter().any(|piece| piece.class().name == *name), *name),
        };
        if !met {
            return Err(Refusal::EvidenceMissing(what));
        }
    }
    Ok(())
}

const fn check_age(age: i64, limits: &Limits) -> Result<(), Refusal> {
    if age > limits.evidence_max_age_seconds {
        return Err(Refusal::EvidenceStale(age));
    }
    if -age > limits.evidence_max_age_seconds {
        return Err(Refusal::EvidenceAhead(-age));
    }
    Ok(())
}

fn check_csr_name(csr: &Verified<Csr>, id: &SpiffeId) -> Result<(), Refusal> {
    match &csr.get().claimed_id {
        Some(claimed) if claimed != id => Err(Refusal::CsrName(claimed.clone())),
        _ => Ok(()),
    }
}

/// Checks where the key is. A certification counts for the key of this request, and on the evidence of the TPM that
/// made it.
fn check_key(entry: &Entry, csr: &Verified<Csr>, request: &Request<'_>) -> Result<(), Refusal> {
    let pieces = request.evidence().map(Evidence::pieces).unwrap_or_default();
    let counts =
        |key: &ResidentKey| key.is(&csr.get().public_key) && pieces.iter().any(|piece| piece.class() == key.class());
    match request.resident() {
        Some(key) if counts(key) => Ok(()),
        None if !entry.tpm_key => Ok(()),
        _ => Err(Refusal::KeyNotCertified(entry.id.clone())),
    }
}

fn node(
    id: &SpiffeId,
    csr: &Verified<Csr>,
    request: &Request<'_>,
    limits: &Limits,
    now: UnixTime,
) -> Result<Allowed, Refusal> {
    if !id.path().starts_with("/spire/agent/") {
        return Err(Refusal::WrongCaller("a node's ID lies below /spire/agent/"));
    }
    check_evidence(request, limits, now)?;
    allow(id.clone(), &csr.get().public_key, limits.node_ttl_seconds, request, limits, now)
}

const fn or_default(own: u32, default: u32) -> u32 {
    if own == 0 { default } else { own }
}

/// The only constructor of [`Allowed`]. An identity outlives neither its authority, nor its entry, nor its evidence.
fn allow(
    spiffe_id: SpiffeId,
    public_key: &[u8],
    ttl_seconds: u32,
    request: &Request<'_>,
    limits: &Limits,
    now: UnixTime,
) -> Result<Allowed, Refusal> {
    if !spiffe_id.is_member_of(&limits.trust_domain) {
        return Err(Refusal::ForeignTrustDomain(limits.trust_domain.clone()));
    }
    let not_after = now.plus_seconds(i64::from(ttl_seconds)).min(limits.authority_ends);
    if not_after <= now {
        return Err(Refusal::AuthorityExpired);
    }
    let ends = [request.evidence().and_then(Evidence::ends_at), request.entry().and_then(|entry| entry.expires_at)];
    let shows_process = request.evidence().is_some_and(|all| all.about(EvidenceClass::Process).next().is_some());
    let evidence = if shows_process { EvidenceClass::Process } else { EvidenceClass::Node };
    Ok(Allowed {
        spiffe_id,
        entry_id: request.entry().map(|entry| entry.id.clone()),
        public_key: public_key.to_vec(),
        not_before: now.plus_seconds(-BACKDATE_SECONDS),
        not_after: ends.into_iter().flatten().fold(not_after, UnixTime::min),
        claims: claims(request, evidence),
        dns_names: vec![],
        evidence,
    })
}

/// The claims of the identity. A claim that was not attested is absent or false.
fn claims(request: &Request<'_>, class: EvidenceClass) -> Claims {
    let mut out = request.evidence().unwrap_or(&Evidence::none()).claims(request.subject());
    out.set("evidence", ClaimValue::Text(class.as_str().to_owned()));
    let keys = request
        .evidence()
        .unwrap_or(&Evidence::none())
        .key_claims(request.subject(), request.resident().map(ResidentKey::class));
    keys.iter().for_each(|(name, value)| out.set(name, value.clone()));
    out
}

#[cfg(test)]
mod tests;
