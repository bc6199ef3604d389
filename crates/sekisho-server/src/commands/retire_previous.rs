use sekisho_store::{Expect, Item, Write};

use crate::caller::AgentCaller;
use crate::command::Command;
use crate::denied::Denied;
use crate::domain::Shared;
use crate::submit;

/// Ends the SVID before the one that the agent shows now: a successor that was used has replaced it. Durable when this has run,
/// and before the call that showed the successor goes on.
pub(crate) struct RetirePrevious;

impl Command for RetirePrevious {
    type Caller = AgentCaller;
    type Reply = ();
    type Error = Denied;

    async fn run(self, domain: &Shared, agent: &AgentCaller) -> Result<(), Denied> {
        let id = agent.id.get();
        let retirement = || {
            let node = domain.view.read(|state| state.nodes.get(id).cloned());
            let shown = node.filter(|node| node.serial == agent.serial && node.previous_serial.is_some());
            let Some(node) = shown else { return Ok((Item::default(), ())) };
            let (serial, expires_at) = (node.serial.clone(), node.expires_at);
            let write = Write::RenewNode { id: id.clone(), serial, previous_serial: None, expires_at };
            Ok((Item::default().expect(Expect::Node { id: id.clone(), is: Some(node) }).write(write), ()))
        };
        submit::change::<(), Denied>(domain, retirement).await.map(drop)
    }
}
