//! What a command is: something that a caller wants done, which `executor.rs` runs.

use sekisho_types::{EntryId, SpiffeId};

use crate::caller::Caller;
use crate::change::{Change, Facts};
use crate::denied::Denied;
use crate::final_check::FinalCheck;
use crate::refusal::Fault;
use crate::run::Run;

/// Each is a file of `commands/`. It records nothing of what it refuses: that is the executor's.
pub(crate) trait Command: Sized + Send {
    /// Whom the role table admits to it.
    type Caller: Caller;
    type Reply: Send;
    type Error: Fault + Send;

    fn run(self, run: &Run<'_, Self::Caller>) -> impl Future<Output = Result<Self::Reply, Self::Error>> + Send;
}

/// A command that is one change of the state: it says what is to be written and what happens by it.
pub(crate) trait Changes: Sized + Send + Sync {
    type Caller: Caller;
    type Reply: Send + 'static;
    type Error: Fault + Send + From<sekisho_store::StoreError> + From<sekisho_store::Conflict> + From<Denied>;

    /// Prepared again when the state has changed meanwhile.
    fn prepare(&self, of: Facts<'_>, by: &Self::Caller) -> Result<Change<Self::Reply>, Self::Error>;

    /// Whose identities it takes away, if it does: it is acknowledged when those that are on their way out have left.
    fn withdrawn_identities(&self) -> Option<WithdrawnIdentities<'_>> {
        None
    }
}

/// Identities that a change takes away.
#[derive(Clone, Copy)]
pub(crate) enum WithdrawnIdentities<'a> {
    OfAgent(&'a SpiffeId),
    OfEntry(&'a EntryId),
}

impl WithdrawnIdentities<'_> {
    pub(crate) fn concerns(self, final_check: &FinalCheck) -> bool {
        match self {
            Self::OfAgent(id) => final_check.is_for_agent(id),
            Self::OfEntry(id) => final_check.has_entry(id),
        }
    }
}

impl<K: Changes> Command for K {
    type Caller = K::Caller;
    type Reply = K::Reply;
    type Error = K::Error;

    async fn run(self, run: &Run<'_, K::Caller>) -> Result<K::Reply, K::Error> {
        let made = run.change(|| self.prepare(run.facts(), run.caller)).await;
        if let Some(taken) = self.withdrawn_identities() {
            run.domain.streams.pending_answers.settle(|final_check| taken.concerns(final_check)).await;
        }
        made
    }
}
