use std::path::PathBuf;
use std::sync::Arc;

use sekisho_store::PolicyRecord;

use super::query_error::QueryError;
use crate::caller::Operator;
use crate::change::Facts;
use crate::domain::Shared;
use crate::query::{Query, ViewQuery};

/// The policy in force, if there is one.
pub(crate) struct RunningPolicy;

impl ViewQuery for RunningPolicy {
    type Caller = Operator;
    type Reply = Option<Arc<PolicyRecord>>;

    fn see(self, of: Facts<'_>, _: &Operator) -> Self::Reply {
        of.view.read(|state| state.policy.clone())
    }
}

/// The policy of an earlier revision.
pub(crate) struct EarlierPolicy(pub u64);

impl Query for EarlierPolicy {
    type Caller = Operator;
    type Reply = Result<PolicyRecord, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        let found = of.store.policy(&of.identity.name, Some(self.0)).await?;
        found.ok_or(QueryError::NoPolicy(self.0))
    }
}

/// The folder that policy comes from, if it comes from one.
pub(crate) struct PolicyFolder;

impl ViewQuery for PolicyFolder {
    type Caller = Operator;
    type Reply = Option<PathBuf>;

    fn see(self, of: Facts<'_>, _: &Operator) -> Self::Reply {
        of.settings.policy_folder.clone()
    }
}
