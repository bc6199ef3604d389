use std::sync::Arc;

use sekisho_evidence::Evidence;
use sekisho_identity::{Csr, Entry, Request, WorkloadProof};
use sekisho_types::{EntryId, Verified};

use super::asked::{entry, shown};
use crate::caller::AgentCaller;
use crate::change::Facts;
use crate::command::Command;
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
}

impl Command for IssueX509 {
    type Caller = AgentCaller;
    type Reply = Vec<Result<(IssuedX509, Arc<Entry>), IssueError>>;
    type Error = IssueError;

    async fn run(self, run: &Run<'_, AgentCaller>) -> Result<Self::Reply, IssueError> {
        let (domain, agent) = (run.domain.clone(), run.caller.clone());
        // To check the signature of a CSR takes longer than to sign.
        let read = move |item: Result<X509Request, IssueError>| Read::of(domain.facts(), &agent, item?);
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
}

impl Read {
    fn of(of: Facts<'_>, agent: &AgentCaller, asked: X509Request) -> Result<Self, IssueError> {
        let entry = entry(of.view, asked.entry)?;
        let csr = Csr::verify(&asked.csr).map_err(|error| IssueError::Csr(error.to_string()))?;
        let (shown, evidence) = shown(agent, of.settings.attest_every_seconds, asked.process)?;
        Ok(Self { entry, csr, shown, evidence })
    }
}

impl Asked for Read {
    fn request(&self) -> Request<'_> {
        Request::WorkloadX509 { entry: &self.entry, csr: &self.csr, shown: self.shown, evidence: &self.evidence }
    }
}
