use std::sync::Arc;

use sekisho_evidence::Evidence;
use sekisho_identity::{Csr, Entry, Request};
use sekisho_types::EntryId;

use super::asked::{entry, shown};
use crate::caller::AgentCaller;
use crate::command::Command;
use crate::domain::Shared;
use crate::issue::{self, IssueError, IssuedX509};

/// One X.509-SVID for an entry. Several that run at once share one wait for the log.
pub(crate) struct IssueX509 {
    pub entry: EntryId,
    pub csr: Vec<u8>,
    /// What the agent measured of the process. As SPIRE's agents ask, without: the identity's claims say so.
    pub process: Option<Evidence>,
}

impl Command for IssueX509 {
    type Caller = AgentCaller;
    type Reply = (IssuedX509, Arc<Entry>);
    type Error = IssueError;

    async fn run(self, domain: &Shared, agent: &AgentCaller) -> Result<Self::Reply, IssueError> {
        let entry = entry(&domain.view, self.entry)?;
        let csr = Csr::verify(&self.csr).map_err(|error| IssueError::Csr(error.to_string()))?;
        let (shown, evidence) = shown(agent, self.process)?;
        let request = Request::WorkloadX509 { entry: &entry, csr: &csr, shown, evidence: &evidence };
        let issued = issue::x509(domain, agent.asker(domain), request).await?;
        Ok((issued, entry))
    }
}
