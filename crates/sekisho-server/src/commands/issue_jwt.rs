use std::sync::Arc;

use sekisho_evidence::Evidence;
use sekisho_identity::{Entry, Request, WorkloadProof};
use sekisho_types::EntryId;

use super::asked::{entry, shown};
use crate::caller::AgentCaller;
use crate::command::Command;
use crate::issue::{Asked, IssueError};
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
        let (shown, evidence) = shown(agent, run.facts().settings.attest_every_seconds, self.process)?;
        let asked = AskedJwt { entry: entry.clone(), audience: self.audience, shown, evidence };
        let issued = run.issue(agent.requester(run.domain), Jwt, asked).await?;
        Ok((issued, entry))
    }
}

struct AskedJwt {
    entry: Arc<Entry>,
    audience: Vec<String>,
    shown: WorkloadProof,
    evidence: Arc<Evidence>,
}

impl Asked for AskedJwt {
    fn request(&self) -> Request<'_> {
        let Self { entry, audience, shown, evidence } = self;
        Request::WorkloadJwt { entry, audience, shown: *shown, evidence }
    }
}
