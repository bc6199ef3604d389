use sekisho_events::PolicyApplied;
use sekisho_policy::{PolicyError, Source, load_tested};
use sekisho_runtime::now;
use sekisho_store::{Conflict, Expect, PolicyRecord, StoreError, Write};

use crate::caller::Operator;
use crate::change::Change;
use crate::command::Command;
use crate::denied::Denied;
use crate::journal::{JournalError, personal};
use crate::refusal::Fault;
use crate::run::Run;

/// Policy revisions kept for replay.
const KEEP_REVISIONS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Journal(error.into())
    }
}

impl From<Conflict> for ApplyError {
    fn from(conflict: Conflict) -> Self {
        Self::Journal(conflict.into())
    }
}

impl Fault for ApplyError {
    fn is_caller_fault(&self) -> bool {
        match self {
            Self::Policy(_) => true,
            Self::Denied(denied) => denied.is_caller_fault(),
            Self::Journal(_) => false,
        }
    }

    fn log_message(&self) -> String {
        self.to_string()
    }
}

/// Checks a policy set, runs its own tests and makes it a revision. The same content again keeps its revision.
pub(crate) struct ApplyPolicy {
    pub sources: Vec<Source>,
}

impl Command for ApplyPolicy {
    type Caller = Operator;
    type Reply = u64;
    type Error = ApplyError;

    async fn run(self, run: &Run<'_, Operator>) -> Result<u64, ApplyError> {
        // Loading and the set's own tests take their time.
        let tested = sekisho_runtime::blocking(move || load_tested(self.sources, now())).await;
        let set = tested.map_err(|error| PolicyError::Prepare(error.to_string()))??;
        let files = set.sources().iter().map(|source| (source.name.clone(), source.text.clone())).collect();
        // The store counts revisions.
        let policy = PolicyRecord { revision: 0, digest: set.digest(), at: now(), files };
        let (view, by) = (run.facts().view, run.caller.name());
        let prepare = || {
            let running = view.read(|state| state.policy.clone());
            let expected = Expect::Policy(running.as_ref().map(|running| running.revision));
            if let Some(running) = running.as_ref().filter(|running| running.digest == policy.digest) {
                return Ok::<_, ApplyError>(Change::with_reply((running.revision, false)).expect(expected));
            }
            // The store counts in the same way, and only while the expected one runs.
            let revision = running.map_or(0, |running| running.revision) + 1;
            let applied = PolicyApplied { by: personal(by.to_owned()), digest: policy.digest, revision };
            let write = Write::PutPolicy { policy: policy.clone(), keep: KEEP_REVISIONS };
            Ok(Change::with_reply((revision, true)).expect(expected).write(write).event(applied))
        };
        let (revision, is_new) = run.change(prepare).await?;
        if is_new {
            tracing::info!(revision, by, "policy revision");
        }
        Ok(revision)
    }
}
