use sekisho_events::IssuanceId;
use sekisho_store::{Conflict, StoreError, Write};

use super::asked::{AskedNode, csr};
use crate::caller::AgentCaller;
use crate::change::Change;
use crate::command::Command;
use crate::denied::Denied;
use crate::issue::IssueError;
use crate::issue_x509::{IssuedX509, X509};
use crate::journal::JournalError;
use crate::refusal::Fault;
use crate::run::Run;

/// Renews an agent's SVID. The one it shows now stays good until the new one is used, in case the answer is lost.
pub(crate) struct Renew {
    pub csr: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RenewError {
    #[error("an agent that can attest again does so in place of renewing")]
    MustReattest,
    /// The agent may not have it any more, which is in the log already.
    #[error("{denied}")]
    Changed { denied: Denied, withdrawn: Vec<IssuanceId> },
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl From<JournalError> for RenewError {
    fn from(error: JournalError) -> Self {
        Self::Issue(error.into())
    }
}

impl From<Denied> for RenewError {
    fn from(denied: Denied) -> Self {
        Self::Changed { denied, withdrawn: vec![] }
    }
}

impl From<StoreError> for RenewError {
    fn from(error: StoreError) -> Self {
        JournalError::from(error).into()
    }
}

impl From<Conflict> for RenewError {
    fn from(conflict: Conflict) -> Self {
        match Denied::from(conflict) {
            Denied::Journal(error) => error.into(),
            denied => denied.into(),
        }
    }
}

impl Fault for RenewError {
    fn is_caller_fault(&self) -> bool {
        match self {
            Self::MustReattest => true,
            Self::Changed { denied, .. } => denied.is_caller_fault(),
            Self::Issue(error) => error.is_caller_fault(),
        }
    }

    fn log_message(&self) -> String {
        self.to_string()
    }

    fn public_message(&self) -> String {
        match self {
            Self::Issue(error) => error.public_message(),
            _ => self.to_string(),
        }
    }

    fn withdraws(&self) -> &[IssuanceId] {
        match self {
            Self::MustReattest => &[],
            Self::Changed { withdrawn, .. } => withdrawn,
            Self::Issue(error) => error.withdraws(),
        }
    }

    fn is_beyond_budget(&self) -> bool {
        matches!(self, Self::Issue(error) if error.is_beyond_budget())
    }
}

impl Command for Renew {
    type Caller = AgentCaller;
    type Reply = IssuedX509;
    type Error = RenewError;

    async fn run(self, run: &Run<'_, AgentCaller>) -> Result<IssuedX509, RenewError> {
        let (csr, agent) = (csr(run, self.csr).await?, run.caller);
        // As SPIRE has it: such an agent would otherwise hold its identity without ever proving itself again.
        if agent.node.can_reattest {
            return Err(RenewError::MustReattest);
        }
        let evidence = agent.evidence().map_err(IssueError::from)?.clone();
        let issued = run.issue(agent.requester(run.domain), X509, AskedNode { csr, evidence }).await?;
        // It may have been banned or evicted, or have used a successor of what it shows, since it was judged.
        let renewal = || {
            let (id, previous_serial) = (agent.id.get().clone(), Some(agent.serial.clone()));
            let (serial, expires_at) = (issued.identity.serial.clone(), issued.not_after);
            Ok(Change::with_reply(()).write(Write::RenewNode { id, serial, previous_serial, expires_at }))
        };
        match run.change::<(), RenewError>(renewal).await {
            Ok(()) => Ok(issued),
            Err(RenewError::Changed { denied, .. }) => {
                Err(RenewError::Changed { denied, withdrawn: vec![issued.log_id] })
            }
            // The database did not take it: the SVID does not leave.
            Err(RenewError::Issue(IssueError::Journal(error))) => {
                Err(RenewError::Changed { denied: error.into(), withdrawn: vec![issued.log_id] })
            }
            Err(error) => Err(error),
        }
    }
}
