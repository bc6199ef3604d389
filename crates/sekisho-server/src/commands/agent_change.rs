//! What is the same in each change of an agent by an operator.

use sekisho_events::Event;
use sekisho_identity::Node;
use sekisho_runtime::now;
use sekisho_store::{Expect, Write};
use sekisho_types::SpiffeId;

use crate::change::{Change, Facts};
use crate::registration::RegistrationError;
use crate::revoke;

pub(super) fn change_agent(
    of: Facts<'_>,
    id: &SpiffeId,
    event: impl Into<Event>,
    reason: &str,
    change: impl FnOnce(&Node) -> Write,
) -> Result<Change<()>, RegistrationError> {
    let node = of.view.read(|state| state.nodes.get(id).cloned());
    let node = node.ok_or_else(|| RegistrationError::NoAgent(id.clone()))?;
    let changed = Change::with_reply(()).write(change(&node)).expect(Expect::Node { id: id.clone(), is: Some(node) });
    Ok(changed.and(|item| revoke::agent(item, id, reason, now())).event(event))
}
