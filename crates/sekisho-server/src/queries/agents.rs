use std::sync::Arc;

use sekisho_identity::Node;
use sekisho_types::SpiffeId;

use crate::caller::Operator;
use crate::change::Facts;
use crate::query::ViewQuery;

/// All agents that are known, or the one with this SPIFFE ID.
pub(crate) struct ListAgents {
    pub id: Option<SpiffeId>,
}

impl ViewQuery for ListAgents {
    type Caller = Operator;
    type Reply = Vec<Arc<Node>>;

    fn see(self, of: Facts<'_>, _: &Operator) -> Self::Reply {
        of.view.read(|state| match &self.id {
            Some(id) => state.nodes.get(id).cloned().into_iter().collect(),
            None => state.nodes.values().cloned().collect(),
        })
    }
}
