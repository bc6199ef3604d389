//! Changes are prepared from the view and submitted as values. A view that was stale is read again. What a change records counts
//! once it is written.

use sekisho_store::{Batch, Committed, Conflict, Item, StoreError};
use sekisho_types::Revision;

use crate::counters::Counts;
use crate::domain::Domain;

/// A view is stale only while another change is under way: so many in a row are a fault.
pub(crate) const ATTEMPTS: usize = 16;

/// Writes what `prepare` makes of the view: a change, and what it comes to.
pub(crate) async fn change<T, E>(
    domain: &Domain,
    mut prepare: impl FnMut() -> Result<(Item, T), E>,
) -> Result<(T, Option<Revision>), E>
where
    E: From<StoreError> + From<Conflict>,
{
    let mut attempts = 0;
    loop {
        let (item, value) = prepare()?;
        attempts += 1;
        // The view has all that was committed before this is answered.
        match all(domain, vec![item]).await?.only() {
            Ok(revision) => return Ok((value, revision)),
            Err(conflict) if conflict.is_stale() && attempts < ATTEMPTS => {}
            Err(conflict) => return Err(conflict.into()),
        }
    }
}

/// Writes one change that relies on nothing that the view says.
pub(crate) async fn write<E>(domain: &Domain, item: impl Into<Item>) -> Result<Option<Revision>, E>
where
    E: From<StoreError> + From<Conflict>,
{
    Ok(all(domain, vec![item.into()]).await?.only()?)
}

/// Writes changes together: one that conflicts keeps no other out. Refused while the log takes no leaves of changes.
pub(crate) async fn all(domain: &Domain, items: Vec<Item>) -> Result<Committed, StoreError> {
    let counts: Vec<Counts> = items.iter().map(Counts::of).collect();
    if items.iter().any(|item| item.events().next().is_some()) {
        domain.log.outbox.room(items.iter().any(Item::revokes)).await?;
    }
    let committed = domain.store.commit(Batch::new(&domain.identity.name, items)).await;
    domain.watch.health.stored(&committed);
    let committed = committed?;
    for (counts, outcome) in counts.iter().zip(&committed.outcomes) {
        if outcome.is_ok() {
            domain.watch.counters.written(counts);
        }
    }
    Ok(committed)
}
