use sekisho_store::{Expect, Write};

use crate::caller::AgentCaller;
use crate::change::{Change, Facts};
use crate::command::Changes;
use crate::denied::Denied;

/// Ends the SVID before the one that the agent shows now: a successor that was used has replaced it. Durable when this
/// has run, and before the call that showed the successor goes on.
pub(crate) struct RetirePrevious;

impl Changes for RetirePrevious {
    type Caller = AgentCaller;
    type Reply = ();
    type Error = Denied;

    fn prepare(&self, of: Facts<'_>, agent: &AgentCaller) -> Result<Change<()>, Denied> {
        let (id, nothing) = (agent.id.get(), Change::with_reply(()));
        let node = of.view.read(|state| state.nodes.get(id).cloned());
        let shown = node.filter(|node| node.serial == agent.serial && node.previous_serial.is_some());
        let Some(node) = shown else { return Ok(nothing) };
        let (serial, expires_at) = (node.serial.clone(), node.expires_at);
        let write = Write::RenewNode { id: id.clone(), serial, previous_serial: None, expires_at };
        Ok(nothing.expect(Expect::Node { id: id.clone(), is: Some(node) }).write(write))
    }
}
