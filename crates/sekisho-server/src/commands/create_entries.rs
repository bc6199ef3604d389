use std::sync::Arc;

use sekisho_events::EntryCreated;
use sekisho_identity::Entry;
use sekisho_runtime::now;
use sekisho_store::{Conflict, Expect, Write};
use sekisho_types::EntryId;

use crate::caller::Operator;
use crate::change::{Change, Facts};
use crate::command::Command;
use crate::journal::personal;
use crate::registration::{RegistrationError, warn_of_any_user};
use crate::run::Run;

/// Creates entries in one write batch, each with a leaf of its own. The results are in order: one that cannot be
/// created keeps no other out.
pub(crate) struct CreateEntries {
    pub entries: Vec<Entry>,
}

impl Command for CreateEntries {
    type Caller = Operator;
    type Reply = Vec<Result<Arc<Entry>, RegistrationError>>;
    type Error = RegistrationError;

    async fn run(self, run: &Run<'_, Operator>) -> Result<Self::Reply, RegistrationError> {
        let mut changes = Vec::with_capacity(self.entries.len());
        let prepare = |entry| {
            let (id, change) = prepare(run.facts(), entry, run.caller.name())?;
            changes.push(change);
            Ok(id)
        };
        let prepared: Vec<Result<EntryId, RegistrationError>> = self.entries.into_iter().map(prepare).collect();
        let mut outcomes = run.change_all::<_, RegistrationError>(changes).await?.into_iter();
        let results = prepared.into_iter().map(|one| {
            let id = one?;
            Ok(outcomes.next().unwrap_or(Err(Conflict::EntryChanged(id)))?)
        });
        Ok(results.collect())
    }
}

fn prepare(of: Facts<'_>, mut entry: Entry, by: &str) -> Result<(EntryId, Change<Arc<Entry>>), RegistrationError> {
    entry.check(of.trust_domain)?;
    entry.created_at = now();
    entry.revision_number = 0;
    // SPIRE's API has no way to say that this is meant, and its clients must go on working; REST has asked.
    warn_of_any_user(&entry);
    let entry = Arc::new(of.view.read(|state| state.with_shared_parent(entry)));
    let created = EntryCreated {
        after: Some(personal(entry.clone())),
        by: personal(by.to_owned()),
        entry: entry.id.clone(),
        registration: None,
    };
    let change = Change::with_reply(entry.clone())
        .expect(Expect::Unregistered(entry.clone()))
        .expect(Expect::NoEntry(entry.id.clone()))
        .write(Write::PutEntry(entry.clone()))
        .event(created);
    Ok((entry.id.clone(), change))
}
