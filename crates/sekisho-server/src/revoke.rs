//! What a change of the state revokes, in the transaction of the change (`docs/decisions/0022`).

use std::collections::BTreeSet;

use sekisho_identity::{Entry, LONGEST_SVID_SECONDS, Revoked, narrows};
use sekisho_store::{Batch, StoreError};
use sekisho_types::{SpiffeId, UnixTime};

/// The longest life that SVIDs of entries without one of their own may have had: the server's default may have been
/// longer before it was started again.
const DEFAULT_LIFE_SECONDS: u32 = 3600;

/// The same of JWT-SVIDs (law L7).
const LONGEST_TOKEN_SECONDS: u32 = 300;

/// Revokes the SVIDs of an entry that is deleted, and of the entries below it: their agents may have served them because of
/// it only. One that is still served gets new SVIDs at once.
pub(crate) fn entry(
    batch: &mut Batch<'_>,
    entry: &Entry,
    reason: &str,
    default_ttl_seconds: u32,
    at: UnixTime,
) -> Result<(), StoreError> {
    let (mut waiting, mut seen) = (vec![entry.clone()], BTreeSet::new());
    while let Some(entry) = waiting.pop() {
        let until = at.plus_seconds(longest_life(&entry, default_ttl_seconds));
        let what = Revoked::Entry { id: entry.id.clone(), spiffe_id: entry.spiffe_id.clone() };
        let reason = if seen.is_empty() { reason } else { "lost the parent that it was served under" };
        batch.revoke(what, reason, at, until)?;
        if seen.insert(entry.spiffe_id.clone()) {
            waiting.extend(batch.children(&entry.spiffe_id)?);
        }
    }
    Ok(())
}

/// The longest that an SVID of this entry may still be good.
pub(crate) fn longest_life(entry: &Entry, default_ttl_seconds: u32) -> i64 {
    let life = match entry.x509_ttl_seconds {
        0 => default_ttl_seconds.max(DEFAULT_LIFE_SECONDS),
        own => own,
    };
    i64::from(life.max(LONGEST_TOKEN_SECONDS)).min(LONGEST_SVID_SECONDS)
}

/// Revokes the SVIDs of an entry as it was, if its change takes something away that they have.
pub(crate) fn changed_entry(
    batch: &mut Batch<'_>,
    before: &Entry,
    after: &Entry,
    default_ttl_seconds: u32,
    at: UnixTime,
) -> Result<(), StoreError> {
    if narrows(before, after) {
        entry(batch, before, "was changed", default_ttl_seconds, at)?;
    }
    Ok(())
}

/// Revokes an agent's SVIDs and all that it asked for.
pub(crate) fn agent(batch: &mut Batch<'_>, id: &SpiffeId, reason: &str, at: UnixTime) -> Result<(), StoreError> {
    batch.revoke(Revoked::Agent(id.clone()), reason, at, at.plus_seconds(LONGEST_SVID_SECONDS))
}
