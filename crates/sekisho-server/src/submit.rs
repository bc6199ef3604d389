//! Changes are prepared from the view and submitted as values. A view that was stale is read again.

use sekisho_store::{Batch, Conflict, Item, StoreError};
use sekisho_types::Revision;

use crate::domain::Domain;

/// A view is stale only while another change is under way: so many in a row are a fault.
const ATTEMPTS: usize = 16;

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
        match domain.store.commit(Batch::of(&domain.identity.name, item)).await?.only() {
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
    Ok(domain.store.commit(Batch::of(&domain.identity.name, item)).await?.only()?)
}
