use std::sync::Arc;

use sekisho_events::EntryUpdated;
use sekisho_identity::Entry;
use sekisho_runtime::now;
use sekisho_store::{EntryVersion, Expect, Write};
use sekisho_types::EntryId;

use crate::caller::Operator;
use crate::change::{Change, Facts};
use crate::command::{Changes, WithdrawnIdentities};
use crate::journal::personal;
use crate::registration::{RegistrationError, former_parent, known_entry, warn_of_any_user};
use crate::revoke;

/// Changes an entry; `change` gets it as it is and returns it as it is to be.
pub(crate) struct UpdateEntry<F> {
    pub id: EntryId,
    pub change: F,
}

impl<F> Changes for UpdateEntry<F>
where
    F: Fn(&Entry) -> Result<Entry, RegistrationError> + Send + Sync,
{
    type Caller = Operator;
    type Reply = Arc<Entry>;
    type Error = RegistrationError;

    fn prepare(&self, of: Facts<'_>, by: &Operator) -> Result<Change<Arc<Entry>>, RegistrationError> {
        let before = known_entry(of.view, &self.id)?;
        let mut entry = (self.change)(&before)?;
        entry.id = self.id.clone();
        entry.created_at = before.created_at;
        entry.revision_number = before.revision_number + 1;
        entry.check(of.trust_domain)?;
        warn_of_any_user(&entry);
        let entry = Arc::new(entry);
        let mut change = Change::with_reply(entry.clone())
            .expect(Expect::Entry(EntryVersion::of(&before)))
            .expect(Expect::Unregistered(entry.clone()));
        if (&before.spiffe_id, &before.parent_id) != (&entry.spiffe_id, &entry.parent_id) {
            change = change.write(former_parent(&before));
        }
        let ttl = of.settings.x509_ttl_seconds;
        let revoked = |item| of.view.read(|state| revoke::changed_entry(item, state, (&before, &entry), ttl, now()));
        let updated = EntryUpdated {
            after: Some(personal(entry.clone())),
            before: Some(personal(before.clone())),
            by: personal(by.name().to_owned()),
            entry: self.id.clone(),
            registration: None,
        };
        Ok(change.and(revoked).write(Write::PutEntry(entry.clone())).event(updated))
    }

    fn withdrawn_identities(&self) -> Option<WithdrawnIdentities<'_>> {
        Some(WithdrawnIdentities::OfEntry(&self.id))
    }
}
