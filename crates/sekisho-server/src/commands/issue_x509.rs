use std::borrow::Cow;
use std::sync::Arc;

use sekisho_evidence::Evidence;
use sekisho_identity::{Csr, Entry, Request, WorkloadProof};
use sekisho_types::{EntryId, Verified};

use super::asked::{entry, shown};
use crate::caller::AgentCaller;
use crate::command::Command;
use crate::issue::IssueError;
use crate::issue_x509::{IssuedX509, X509};
use crate::run::Run;
use crate::view::View;

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
        let (agent, view) = (run.caller, run.facts().view);
        // To check the signature of a CSR takes longer than to sign.
        let queue = &run.domain.limits.queue;
        let read = queue.each(agent.id.get(), self.items, |item| Read::of(view, agent, item?)).await;
        let requests: Vec<_> = read.iter().flatten().map(Read::request).collect();
        let mut issued = run.issue_all(agent.requester(run.domain), &requests, X509).await.into_iter();
        drop(requests);
        let replies = read.into_iter().map(|read| {
            let entry = read?.entry;
            let issued = issued.next().unwrap_or_else(|| Err(IssueError::Form("it was not answered".into())))?;
            Ok((issued, entry))
        });
        Ok(replies.collect())
    }
}

/// What is asked for, found and checked as far as it is for itself.
struct Read<'a> {
    entry: Arc<Entry>,
    csr: Verified<Csr>,
    shown: WorkloadProof,
    evidence: Cow<'a, Evidence>,
}

impl<'a> Read<'a> {
    fn of(view: &View, agent: &'a AgentCaller, asked: X509Request) -> Result<Self, IssueError> {
        let entry = entry(view, asked.entry)?;
        let csr = Csr::verify(&asked.csr).map_err(|error| IssueError::Csr(error.to_string()))?;
        let (shown, evidence) = shown(agent, asked.process)?;
        Ok(Self { entry, csr, shown, evidence })
    }

    fn request(&self) -> Request<'_> {
        Request::WorkloadX509 { entry: &self.entry, csr: &self.csr, shown: self.shown, evidence: &self.evidence }
    }
}
