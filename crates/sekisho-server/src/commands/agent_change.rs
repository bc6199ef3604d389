//! What is the same in each change of an agent by an operator.

use sekisho_events::Event;
use sekisho_identity::Node;
use sekisho_runtime::now;
use sekisho_store::{Expect, Item, Write};
use sekisho_types::SpiffeId;

use super::by_operator;
use crate::caller::Operator;
use crate::domain::Domain;
use crate::journal::Stamp;
use crate::registration::RegistrationError;
use crate::revoke;

pub(super) async fn change_agent(
    domain: &Domain,
    by: &Operator,
    id: SpiffeId,
    event: &Event,
    reason: &str,
    change: impl Fn(&Node) -> Write,
) -> Result<(), RegistrationError> {
    let prepare = || {
        let node = domain.view.read(|state| state.nodes.get(&id).cloned());
        let node = node.ok_or_else(|| RegistrationError::NoAgent(id.clone()))?;
        let item = Item::default().write(change(&node)).expect(Expect::Node { id: id.clone(), is: Some(node) });
        let leaf = Stamp::now(domain).leaf(event.clone());
        Ok((revoke::agent(item, &id, reason, now()).record(leaf), ()))
    };
    let written = by_operator::change(domain, by, prepare).await;
    domain.streams.departures.settle(|departure| departure.is_to(&id)).await;
    written.map(drop)
}
