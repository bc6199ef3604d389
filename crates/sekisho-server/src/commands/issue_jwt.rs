use std::sync::Arc;

use sekisho_evidence::Evidence;
use sekisho_identity::{Entry, Request};
use sekisho_types::EntryId;

use super::asked::{entry, shown};
use crate::caller::AgentCaller;
use crate::command::Command;
use crate::issue::IssueError;
use crate::issue_jwt::{IssuedJwt, Jwt};
use crate::run::Run;

/// One JWT-SVID for an entry.
pub(crate) struct IssueJwt {
    pub entry: EntryId,
    pub audience: Vec<String>,
    /// As for an X.509-SVID.
    pub process: Option<Evidence>,
}

impl Command for IssueJwt {
    type Caller = AgentCaller;
    type Reply = (IssuedJwt, Arc<Entry>);
    type Error = IssueError;

    async fn run(self, run: &Run<'_, AgentCaller>) -> Result<Self::Reply, IssueError> {
        let (agent, view) = (run.caller, run.facts().view);
        let entry = entry(view, self.entry)?;
        let (shown, evidence) = shown(agent, self.process)?;
        let request = Request::WorkloadJwt { entry: &entry, audience: &self.audience, shown, evidence: &evidence };
        let issued = run.issue(agent.requester(run.domain), request, Jwt(&self.audience)).await?;
        Ok((issued, entry))
    }
}
