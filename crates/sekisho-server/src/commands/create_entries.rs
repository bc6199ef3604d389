use std::sync::Arc;

use sekisho_events::EntryCreated;
use sekisho_identity::Entry;
use sekisho_runtime::now;
use sekisho_store::{Conflict, Expect, Item, Write};

use super::by_operator;
use crate::caller::Operator;
use crate::command::Command;
use crate::domain::{Domain, Shared};
use crate::journal::{Stamp, personal};
use crate::registration::{RegistrationError, warn_of_any_user};

/// Creates entries in one write batch, each with a leaf of its own. The results are in order: one that cannot be created
/// keeps no other out.
pub(crate) struct CreateEntries {
    pub entries: Vec<Entry>,
}

impl Command for CreateEntries {
    type Caller = Operator;
    type Reply = Vec<Result<Arc<Entry>, RegistrationError>>;
    type Error = RegistrationError;

    async fn run(self, domain: &Shared, by: &Operator) -> Result<Self::Reply, RegistrationError> {
        let mut items = Vec::with_capacity(self.entries.len());
        let prepare = |entry| {
            let (entry, item) = prepare(domain, entry, by.name())?;
            items.push(item);
            Ok(entry)
        };
        let prepared: Vec<Result<Arc<Entry>, RegistrationError>> = self.entries.into_iter().map(prepare).collect();
        let mut outcomes = by_operator::all::<RegistrationError>(domain, by, items).await?.into_iter();
        let results = prepared.into_iter().map(|one| {
            let entry = one?;
            outcomes.next().unwrap_or_else(|| Err(Conflict::EntryChanged(entry.id.clone())))?;
            Ok(entry)
        });
        Ok(results.collect())
    }
}

fn prepare(domain: &Domain, mut entry: Entry, by: &str) -> Result<(Arc<Entry>, Item), RegistrationError> {
    entry.check(&domain.identity.name)?;
    entry.created_at = now();
    entry.revision_number = 0;
    // SPIRE's API has no way to say that this is meant, and its clients must go on working; REST has asked.
    warn_of_any_user(&entry);
    let entry = Arc::new(domain.view.read(|state| state.with_shared_parent(entry)));
    let created = EntryCreated {
        after: Some(personal(entry.clone())),
        by: personal(by.to_owned()),
        entry: entry.id.clone(),
        registration: None,
    };
    let item = Item::default()
        .expect(Expect::Unregistered(entry.clone()))
        .expect(Expect::NoEntry(entry.id.clone()))
        .write(Write::PutEntry(entry.clone()))
        .record(Stamp::now(domain).leaf(created));
    Ok((entry, item))
}
