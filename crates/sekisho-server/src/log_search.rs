//! The log is its own index: an id holds the time at which it was given, and leaves stand in order of time.

use sekisho_disk::Ledger;
use sekisho_events::Leaf;
use sekisho_ledger::TILE_WIDTH;
use sekisho_types::UnixTime;

/// How far from its id's time a leaf may stand, in milliseconds: the way from naming to appending, by the
/// outbox as well.
const SLACK_MS: i64 = 60_000;
/// Bundles that a listing reads at most.
const LISTED_BUNDLES: u64 = 256;

/// An attestation or an issuance.
pub(crate) struct Identity {
    pub id: String,
    pub at: UnixTime,
    pub kind: &'static str,
    /// Empty if what opens the leaf's commitment was erased.
    pub spiffe_id: String,
    pub log_index: u64,
}

/// The index of the leaf whose `id` this is. Reads files.
pub(crate) fn find(ledger: &Ledger, id: &str) -> Option<u64> {
    // What was made on a node is no leaf of its own.
    let (_, digits) = id.split_once('_').filter(|(kind, _)| ["att", "iss", "ref"].contains(kind))?;
    let milliseconds = i64::from_str_radix(digits.get(..12)?, 16).ok()?;
    // Canonical JSON: the member stands in a leaf in this one form.
    let member = serde_json::json!(id).to_string();
    let member = format!("\"id\":{member}");
    let size = ledger.size();
    let bundles = size.div_ceil(TILE_WIDTH);
    let in_bundle = |number: u64| {
        let entries = ledger.bundle(number, size)?;
        let at = entries.iter().position(|entry| contains(&entry.leaf, member.as_bytes()))?;
        Some(number * TILE_WIDTH + at as u64)
    };
    let begins = |number: u64| first_time(ledger, number, size).unwrap_or(i64::MAX);
    let start = partition_point(bundles, |number| begins(number) < milliseconds - SLACK_MS).saturating_sub(1);
    let mut near = (start..bundles).take_while(|number| *number == start || begins(*number) <= milliseconds + SLACK_MS);
    near.find_map(in_bundle)
}

/// The time of the newest leaf, in milliseconds. Reads files.
pub(crate) fn newest_time(ledger: &Ledger) -> Option<i64> {
    let size = ledger.size();
    let newest = ledger.entry(size.checked_sub(1)?, size)?;
    Some(Leaf::decode(&newest.leaf).ok()?.at.millis())
}

/// How many whole bundles hold only leaves from before `time`. Reads files.
pub(crate) fn bundles_before(ledger: &Ledger, time: UnixTime) -> u64 {
    let size = ledger.size();
    // One that a newer one follows whose first leaf is old as well.
    let follows = partition_point(size.div_ceil(TILE_WIDTH), |number| {
        first_time(ledger, number, size).is_some_and(|begins| begins < time.millis())
    });
    follows.saturating_sub(1)
}

/// The newest attestations and issuances, newest first. Reads files.
pub(crate) fn newest_identities(ledger: &Ledger, limit: usize) -> Vec<Identity> {
    let size = ledger.size();
    let newest = (0..size.div_ceil(TILE_WIDTH)).rev().take(usize::try_from(LISTED_BUNDLES).unwrap_or(usize::MAX));
    let entries = newest.flat_map(|number| {
        let entries = ledger.bundle(number, size).unwrap_or_default();
        let indexed = (number * TILE_WIDTH..).zip(entries);
        indexed.collect::<Vec<_>>().into_iter().rev()
    });
    entries.filter_map(|(index, entry)| identity(index, &entry.leaf, &entry.side)).take(limit).collect()
}

fn identity(log_index: u64, leaf: &[u8], side: &[u8]) -> Option<Identity> {
    let leaf = Leaf::decode_with_side(leaf, side).ok()?;
    let given = leaf.event.identity()?;
    let spiffe_id = given.spiffe_id.map(|id| id.to_string()).unwrap_or_default();
    Some(Identity { id: given.log_id, at: leaf.at, kind: leaf.event.kind(), spiffe_id, log_index })
}

fn first_time(ledger: &Ledger, bundle: u64, size: u64) -> Option<i64> {
    let first = ledger.bundle(bundle, size)?.into_iter().next()?;
    Some(Leaf::decode(&first.leaf).ok()?.at.millis())
}

/// The number of leading items below `count` for which `before` holds.
fn partition_point(count: u64, before: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
