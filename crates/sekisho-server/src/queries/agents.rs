use std::sync::Arc;

use sekisho_identity::Node;

use crate::caller::Operator;
use crate::change::Facts;
use crate::query::ViewQuery;

/// All agents that are known.
pub(crate) struct ListAgents;

impl ViewQuery for ListAgents {
    type Caller = Operator;
    type Reply = Vec<Arc<Node>>;

    fn see(self, of: Facts<'_>, _: &Operator) -> Self::Reply {
        of.view.read(|state| state.nodes.values().cloned().collect())
    }
}
