//! What a change of the state revokes, in the transaction of the change (`docs/decisions/0022`).

use std::collections::BTreeSet;
use std::sync::Arc;

use sekisho_identity::{Entry, LONGEST_SVID_SECONDS, Revoked, narrows};
use sekisho_store::{Expect, Item, Write};
use sekisho_types::{SpiffeId, UnixTime};

use crate::view::State;

/// The longest life that SVIDs of entries without one of their own may have had: the server's default may have been
/// longer before it was started again.
const DEFAULT_LIFE_SECONDS: u32 = 3600;

/// The same of JWT-SVIDs (law L7).
const LONGEST_TOKEN_SECONDS: u32 = 300;

/// Revokes the SVIDs of an entry that is deleted, and of the entries below it: their agents may have served them
/// because of it only. One that is still served gets new SVIDs at once. What is below it by the view must be so when
/// this is written.
pub(crate) fn entry(
    mut item: Item,
    state: &State,
    entry: &Arc<Entry>,
    reason: &str,
    default_ttl_seconds: u32,
    at: UnixTime,
) -> Item {
    let (mut waiting, mut seen) = (vec![entry.clone()], BTreeSet::new());
    while let Some(entry) = waiting.pop() {
        let until = at.plus_seconds(longest_life(&entry, default_ttl_seconds));
        let what = Revoked::Entry { id: entry.id.clone(), spiffe_id: entry.spiffe_id.clone() };
        let reason = if seen.is_empty() { reason } else { "lost the parent that it was served under" }.to_owned();
        item = item.write(Write::Revoke { what, reason, at, until });
        if seen.insert(entry.spiffe_id.clone()) {
            let children: Vec<_> = state.children(&entry.spiffe_id).cloned().collect();
            let ids = children.iter().map(|child| child.id.clone()).collect();
            item = item.expect(Expect::Children { parent: entry.spiffe_id.clone(), ids });
            waiting.extend(children);
        }
    }
    item
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
    item: Item,
    state: &State,
    (before, after): (&Arc<Entry>, &Entry),
    default_ttl_seconds: u32,
    at: UnixTime,
) -> Item {
    if narrows(before, after) { entry(item, state, before, "was changed", default_ttl_seconds, at) } else { item }
}

/// Revokes an agent's SVIDs and all that it asked for.
pub(crate) fn agent(item: Item, id: &SpiffeId, reason: &str, at: UnixTime) -> Item {
    let (what, until) = (Revoked::Agent(id.clone()), at.plus_seconds(LONGEST_SVID_SECONDS));
    item.write(Write::Revoke { what, reason: reason.to_owned(), at, until })
}
