use std::time::Duration;

use sekisho_store::{Conflict, StoreError};
use sekisho_types::SpiffeId;

use crate::caller::Operator;
use crate::command::Command;
use crate::denied::Denied;
use crate::journal::JournalError;
use crate::refusal::Fault;
use crate::run::Run;
use crate::state_checks::StateOutcome;

/// A TPM takes a second for an answer, and more under load.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks a node for its state now, and waits for what comes of it.
pub(crate) struct AskState {
    pub id: SpiffeId,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AskStateError {
    #[error("no agent `{0}`")]
    NoAgent(SpiffeId),
    #[error(
        "agent `{0}` is not connected, or its node cannot show its state: only a node with a TPM can; see \
         `sekisho agent list`"
    )]
    NotConnected(SpiffeId),
    #[error("agent `{0}` did not answer within 30 s; its log says why")]
    Silent(SpiffeId),
    #[error("agent `{agent}` gave no proof of its state: {reason}; it is asked again when it reconnects")]
    Undecided { agent: SpiffeId, reason: String },
    /// The operator's right expired meanwhile.
    #[error(transparent)]
    Denied(Denied),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<Denied> for AskStateError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Journal(error) => Self::Journal(error),
            denied => Self::Denied(denied),
        }
    }
}

impl From<StoreError> for AskStateError {
    fn from(error: StoreError) -> Self {
        Self::Journal(error.into())
    }
}

impl From<Conflict> for AskStateError {
    fn from(conflict: Conflict) -> Self {
        Self::Journal(conflict.into())
    }
}

impl Fault for AskStateError {
    fn is_caller_fault(&self) -> bool {
        matches!(self, Self::Denied(denied) if denied.is_caller_fault())
    }

    fn log_message(&self) -> String {
        self.to_string()
    }
}

impl Command for AskState {
    type Caller = Operator;
    /// Why the state was refused, if it was.
    type Reply = Option<String>;
    type Error = AskStateError;

    async fn run(self, run: &Run<'_, Operator>) -> Result<Option<String>, AskStateError> {
        let Self { id } = self;
        if run.domain.view.read(|state| !state.nodes.contains_key(&id)) {
            return Err(AskStateError::NoAgent(id));
        }
        let Some(outcome) = run.domain.streams.state_checks.ask(&id) else {
            return Err(AskStateError::NotConnected(id));
        };
        match tokio::time::timeout(PATIENCE, outcome).await {
            Ok(Ok(StateOutcome::Accepted)) => Ok(None),
            Ok(Ok(StateOutcome::Denied(reason))) => Ok(Some(reason)),
            Ok(Ok(StateOutcome::Undecided(reason))) => Err(AskStateError::Undecided { agent: id, reason }),
            // Its stream closed.
            Ok(Err(_)) => Err(AskStateError::NotConnected(id)),
            Err(_) => Err(AskStateError::Silent(id)),
        }
    }
}
