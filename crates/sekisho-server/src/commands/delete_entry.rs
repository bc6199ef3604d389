use sekisho_events::EntryDeleted;
use sekisho_runtime::now;
use sekisho_store::{EntryVersion, Expect, Item, Write};
use sekisho_types::EntryId;

use super::by_operator;
use crate::caller::Operator;
use crate::command::Command;
use crate::domain::Shared;
use crate::journal::{Stamp, personal};
use crate::registration::{RegistrationError, former_parent, known_entry};
use crate::revoke;

/// Deletes an entry. When this has run, no identity of it leaves any more.
pub(crate) struct DeleteEntry {
    pub id: EntryId,
}

impl Command for DeleteEntry {
    type Caller = Operator;
    type Reply = ();
    type Error = RegistrationError;

    async fn run(self, domain: &Shared, by: &Operator) -> Result<(), RegistrationError> {
        let id = self.id;
        let prepare = || {
            let old = known_entry(&domain.view, &id)?;
            let item = Item::default()
                .expect(Expect::Entry(EntryVersion::of(&old)))
                .write(former_parent(&old))
                .write(Write::RemoveEntry(id.clone()));
            let ttl = domain.settings.x509_ttl_seconds;
            let item = domain.view.read(|state| revoke::entry(item, state, &old, "was deleted", ttl, now()));
            let before = Some(personal(old.clone()));
            let deleted = EntryDeleted { before, by: personal(by.name().to_owned()), entry: id.clone() };
            Ok((item.record(Stamp::now(domain).leaf(deleted)), ()))
        };
        let written = by_operator::change(domain, by, prepare).await;
        domain.streams.departures.settle(|departure| departure.is_by(&id)).await;
        written.map(drop)
    }
}
