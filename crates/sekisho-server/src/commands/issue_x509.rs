use std::sync::Arc;

use sekisho_evidence::node::{CertifiedAnswer, KeyIssuance, ResidentKey};
use sekisho_evidence::{Evidence, Piece};
use sekisho_identity::{Csr, Entry, Request, WorkloadProof};
use sekisho_ledger::sha256_of;
use sekisho_runtime::now;
use sekisho_types::{Digest, EntryId, Verified};

use super::asked::{entry, shown};
use crate::caller::AgentCaller;
use crate::command::Command;
use crate::domain::Domain;
use crate::issue::{Asked, IssueError};
use crate::issue_x509::{IssuedX509, X509};
use crate::run::Run;

/// X.509-SVIDs, each for itself: one that is refused keeps no other out. An item that could not be read is
/// refused with the others.
pub(crate) struct IssueX509 {
    pub items: Vec<Result<X509Request, IssueError>>,
}

/// One X.509-SVID for an entry.
pub(crate) struct X509Request {
    pub entry: EntryId,
    pub csr: Vec<u8>,
    /// What the agent measured of the process. As SPIRE's agents ask, without: the identity's claims say so.
    pub process: Option<Evidence>,
    /// Absent for a key in software.
    pub key: Option<ShownKey>,
}

/// A certification of the key by its node's TPM.
pub(crate) struct ShownKey {
    pub certified: CertifiedAnswer,
    /// Keying material of the connection.
    pub exporter: [u8; 32],
}

impl Command for IssueX509 {
    type Caller = AgentCaller;
    type Reply = Vec<Result<(IssuedX509, Arc<Entry>), IssueError>>;
    type Error = IssueError;

    async fn run(self, run: &Run<'_, AgentCaller>) -> Result<Self::Reply, IssueError> {
        let (domain, agent) = (run.domain.clone(), run.caller.clone());
        // To check the signature of a CSR takes longer than to sign.
        let read = move |item: Result<X509Request, IssueError>| Read::of(&domain, &agent, item?);
        let issued = run.issue_all(run.caller.requester(run.domain), X509, self.items, read).await;
        Ok(issued.into_iter().map(|result| result.map(|(issued, read)| (issued, read.entry))).collect())
    }
}

/// What is asked for, found and checked as far as it is for itself.
struct Read {
    entry: Arc<Entry>,
    csr: Verified<Csr>,
    shown: WorkloadProof,
    evidence: Arc<Evidence>,
    resident: Option<ResidentKey>,
}

impl Read {
    fn of(of: &Domain, agent: &AgentCaller, asked: X509Request) -> Result<Self, IssueError> {
        let X509Request { entry: id, csr, process, key } = asked;
        let entry = entry(&of.view, id)?;
        let csr = Csr::verify(&csr).map_err(|error| IssueError::Csr(error.to_string()))?;
        let measured_at = process.as_ref().and_then(|process| process.pieces().first()).map(Piece::measured_at);
        let (shown, evidence) = shown(agent, of.settings.attest_every_seconds, process)?;
        let resident = key.map(|ShownKey { certified, exporter }| {
            let (public_key, measured_at) = (&csr.get().public_key, measured_at.unwrap_or_default());
            let issuance = KeyIssuance { entry: &entry.id, public_key, measured_at, exporter: &exporter };
            resident(of, agent, &certified, &issuance)
        });
        Ok(Self { resident: resident.transpose()?, entry, csr, shown, evidence })
    }
}

/// A key that is in the TPM by which the agent's node attested. Each certification serves once (law L4).
fn resident(
    of: &Domain,
    agent: &AgentCaller,
    certified: &CertifiedAnswer,
    issuance: &KeyIssuance<'_>,
) -> Result<ResidentKey, IssueError> {
    let node = &agent.node;
    let key = ResidentKey::verify(&node.attestation_type, node.remembered.as_deref(), certified, issuance)?;
    let is_new = of.limits.certifications.take(Digest::new(sha256_of(&certified.attest)), now());
    is_new.then_some(key).ok_or(IssueError::CertificationUsed)
}

impl Asked for Read {
    fn request(&self) -> Request<'_> {
        let Self { entry, csr, shown, evidence, resident } = self;
        Request::WorkloadX509 { entry, csr, shown: *shown, evidence, resident: resident.as_ref() }
    }
}
