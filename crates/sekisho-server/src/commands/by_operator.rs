//! How operators' commands write: each item relies on its operator still being one, and is judged again when that changed (law L6).

use sekisho_store::{Conflict, Item, StoreError};
use sekisho_types::Revision;

use crate::caller::Operator;
use crate::denied::Denied;
use crate::domain::Domain;
use crate::submit::{self, ATTEMPTS};

/// Writes what `prepare` makes of the view.
pub(super) async fn change<T, E>(
    domain: &Domain,
    by: &Operator,
    mut prepare: impl FnMut() -> Result<(Item, T), E>,
) -> Result<(T, Option<Revision>), E>
where
    E: From<StoreError> + From<Conflict> + From<Denied>,
{
    let prepare = || {
        // Before the change is prepared, so that no later state than it was judged by is relied on.
        let stands = by.stands(&domain.view)?;
        let (item, value) = prepare()?;
        Ok((item.expect_first(stands), value))
    };
    submit::change(domain, prepare).await
}

/// Writes changes together: one that conflicts keeps no other out.
pub(super) async fn all<E>(domain: &Domain, by: &Operator, items: Vec<Item>) -> Result<Vec<Result<(), Conflict>>, E>
where
    E: From<StoreError> + From<Denied>,
{
    let mut attempts = 0;
    loop {
        let stands = by.stands(&domain.view)?;
        let relying = items.iter().map(|item| item.clone().expect_first(stands.clone())).collect();
        let outcomes = submit::all(domain, relying).await?.outcomes;
        attempts += 1;
        // They are one transaction: its operator stood for all of them, or for none.
        let has_changed = outcomes.first() == Some(&Err(Conflict::OperatorChanged));
        if !has_changed || attempts == ATTEMPTS {
            return Ok(outcomes);
        }
    }
}
