use std::sync::Arc;

use sekisho_events::AgentBanned;
use sekisho_identity::Node;
use sekisho_store::Write;
use sekisho_types::SpiffeId;

use super::agent_change::change_agent;
use crate::caller::Operator;
use crate::change::{Change, Facts};
use crate::command::{Changes, WithdrawnIdentities};
use crate::journal::personal;
use crate::registration::RegistrationError;

/// Bans an agent: it stays known, and no identity leaves to it any more when this has run.
pub(crate) struct BanAgent {
    pub id: SpiffeId,
}

impl Changes for BanAgent {
    type Caller = Operator;
    type Reply = ();
    type Error = RegistrationError;

    fn prepare(&self, of: Facts<'_>, by: &Operator) -> Result<Change<()>, RegistrationError> {
        let event = AgentBanned { agent: personal(self.id.clone()), by: personal(by.name().to_owned()) };
        let ban = |node: &Node| Write::PutNode(Arc::new(Node { banned: true, ..node.clone() }));
        change_agent(of, &self.id, event, "was banned", ban)
    }

    fn withdrawn_identities(&self) -> Option<WithdrawnIdentities<'_>> {
        Some(WithdrawnIdentities::OfAgent(&self.id))
    }
}
