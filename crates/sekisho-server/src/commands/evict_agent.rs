use sekisho_events::AgentEvicted;
use sekisho_identity::Node;
use sekisho_store::Write;
use sekisho_types::SpiffeId;

use super::agent_change::change_agent;
use crate::caller::Operator;
use crate::command::Command;
use crate::domain::Shared;
use crate::journal::personal;
use crate::registration::RegistrationError;

/// Evicts an agent: it must attest again, and no identity leaves to it before when this has run.
pub(crate) struct EvictAgent {
    pub id: SpiffeId,
}

impl Command for EvictAgent {
    type Caller = Operator;
    type Reply = ();
    type Error = RegistrationError;

    async fn run(self, domain: &Shared, by: &Operator) -> Result<(), RegistrationError> {
        let event = AgentEvicted { agent: personal(self.id.clone()), by: personal(by.name().to_owned()) }.into();
        let evict = |node: &Node| Write::RemoveNode(node.id.clone());
        change_agent(domain, by, self.id, &event, "was evicted", evict).await
    }
}
