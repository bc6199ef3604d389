use std::sync::Arc;

use sekisho_events::EntryUpdated;
use sekisho_identity::Entry;
use sekisho_runtime::now;
use sekisho_store::{EntryVersion, Expect, Item, Write};
use sekisho_types::EntryId;

use super::by_operator;
use crate::caller::Operator;
use crate::command::Command;
use crate::domain::Shared;
use crate::journal::{Stamp, personal};
use crate::registration::{RegistrationError, former_parent, known_entry, warn_of_any_user};
use crate::revoke;

/// Changes an entry; `change` gets it as it is and returns it as it is to be.
pub(crate) struct UpdateEntry<F> {
    pub id: EntryId,
    pub change: F,
}

impl<F> Command for UpdateEntry<F>
where
    F: Fn(&Entry) -> Result<Entry, RegistrationError> + Send + Sync,
{
    type Caller = Operator;
    type Reply = Arc<Entry>;
    type Error = RegistrationError;

    async fn run(self, domain: &Shared, by: &Operator) -> Result<Arc<Entry>, RegistrationError> {
        let id = self.id;
        let prepare = || {
            let before = known_entry(&domain.view, &id)?;
            let mut entry = (self.change)(&before)?;
            entry.id = id.clone();
            entry.created_at = before.created_at;
            entry.revision_number = before.revision_number + 1;
            entry.check(&domain.identity.name)?;
            warn_of_any_user(&entry);
            let entry = Arc::new(entry);
            let mut item = Item::default()
                .expect(Expect::Entry(EntryVersion::of(&before)))
                .expect(Expect::Unregistered(entry.clone()));
            if (&before.spiffe_id, &before.parent_id) != (&entry.spiffe_id, &entry.parent_id) {
                item = item.write(former_parent(&before));
            }
            let ttl = domain.settings.x509_ttl_seconds;
            item = domain.view.read(|state| revoke::changed_entry(item, state, (&before, &entry), ttl, now()));
            let updated = EntryUpdated {
                after: Some(personal(entry.clone())),
                before: Some(personal(before.clone())),
                by: personal(by.name().to_owned()),
                entry: id.clone(),
                registration: None,
            };
            Ok((item.write(Write::PutEntry(entry.clone())).record(Stamp::now(domain).leaf(updated)), entry))
        };
        let updated = by_operator::change(domain, by, prepare).await;
        domain.streams.departures.settle(|departure| departure.is_by(&id)).await;
        updated.map(|(entry, _)| entry)
    }
}
