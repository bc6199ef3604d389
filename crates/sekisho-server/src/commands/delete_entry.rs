use sekisho_events::EntryDeleted;
use sekisho_runtime::now;
use sekisho_store::{EntryVersion, Expect, Write};
use sekisho_types::EntryId;

use crate::caller::Operator;
use crate::change::{Change, Facts};
use crate::command::{Changes, WithdrawnIdentities};
use crate::journal::personal;
use crate::registration::{RegistrationError, former_parent, known_entry};
use crate::revoke;

/// Deletes an entry. When this has run, no identity of it leaves any more.
pub(crate) struct DeleteEntry {
    pub id: EntryId,
}

impl Changes for DeleteEntry {
    type Caller = Operator;
    type Reply = ();
    type Error = RegistrationError;

    fn prepare(&self, of: Facts<'_>, by: &Operator) -> Result<Change<()>, RegistrationError> {
        let old = known_entry(of.view, &self.id)?;
        let change = Change::with_reply(())
            .expect(Expect::Entry(EntryVersion::of(&old)))
            .write(former_parent(&old))
            .write(Write::RemoveEntry(self.id.clone()));
        let ttl = of.settings.x509_ttl_seconds;
        let revoked = |item| of.view.read(|state| revoke::entry(item, state, &old, "was deleted", ttl, now()));
        let before = Some(personal(old.clone()));
        let deleted = EntryDeleted { before, by: personal(by.name().to_owned()), entry: self.id.clone() };
        Ok(change.and(revoked).event(deleted))
    }

    fn withdrawn_identities(&self) -> Option<WithdrawnIdentities<'_>> {
        Some(WithdrawnIdentities::OfEntry(&self.id))
    }
}
