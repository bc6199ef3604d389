use std::sync::Arc;

use sekisho_store::PolicyRecord;

use crate::caller::Operator;
use crate::change::Facts;
use crate::query::Query;

/// The policy in force, if there is one.
pub(crate) struct RunningPolicy;

impl Query for RunningPolicy {
    type Caller = Operator;
    type Reply = Option<Arc<PolicyRecord>>;

    fn ask(self, of: Facts<'_>, _: &Operator) -> Self::Reply {
        of.view.read(|state| state.policy.clone())
    }
}
