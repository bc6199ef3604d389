use sekisho_events::AgentEvicted;
use sekisho_runtime::now;
use sekisho_store::Write;
use sekisho_types::SpiffeId;

use super::agent_change::change_agent;
use crate::caller::Operator;
use crate::change::{Change, Facts};
use crate::command::{Changes, WithdrawnIdentities};
use crate::journal::personal;
use crate::registration::RegistrationError;

/// Evicts an agent: it must attest again, and no identity leaves to it before when this has run.
pub(crate) struct EvictAgent {
    pub id: SpiffeId,
}

impl Changes for EvictAgent {
    type Caller = Operator;
    type Reply = ();
    type Error = RegistrationError;

    fn prepare(&self, of: Facts<'_>, by: &Operator) -> Result<Change<()>, RegistrationError> {
        let event = AgentEvicted { agent: personal(self.id.clone()), by: personal(by.name().to_owned()) };
        change_agent(of, &self.id, event, "was evicted", |node| Write::RemoveNode { id: node.id.clone(), at: now() })
    }

    fn withdrawn_identities(&self) -> Option<WithdrawnIdentities<'_>> {
        Some(WithdrawnIdentities::OfAgent(&self.id))
    }
}
