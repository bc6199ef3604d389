use std::sync::PoisonError;
use std::time::Duration;

use sekisho_types::Revision;

use crate::caller::{Caller, Operator};
use crate::denied::Denied;
use crate::domain::Shared;
use crate::query::Query;

/// How long a caller waits for a change.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether something changed: answered at once if `after` is not the present number, else at the next change or when
/// none came for long.
pub(crate) struct AwaitChange {
    pub after: Option<u64>,
}

pub(crate) struct Changed {
    pub sequence: u64,
    pub revision: Revision,
    pub policy_revision: Option<u64>,
    pub policy_folder_refused: Option<String>,
}

impl Query for AwaitChange {
    type Caller = Operator;
    type Reply = Result<Changed, Denied>;

    async fn answer(self, of: &Shared, by: &Operator) -> Result<Changed, Denied> {
        let mut changes = of.streams.followers.changes();
        if self.after == Some(*changes.borrow_and_update()) {
            tokio::select! {
                biased;
                () = of.watch.tasks.stop().wait() => {}
                _changed = tokio::time::timeout(PATIENCE, changes.changed()) => {}
            }
            by.stands(&of.view)?;
        }
        let sequence = *changes.borrow();
        let refused = of.watch.policy_folder_refused.lock();
        let policy_folder_refused = refused.unwrap_or_else(PoisonError::into_inner).clone();
        let (revision, policy_revision) =
            of.view.read(|state| (state.revision, state.policy.as_ref().map(|policy| policy.revision)));
        Ok(Changed { sequence, revision, policy_revision, policy_folder_refused })
    }
}
