//! The log is its own index: an id holds the time at which it was given, and leaves that have ids stand in order of
//! time. Leaves of changes may stand behind later ones, since they wait in the outbox (decisions/0042).

use sekisho_disk::Ledger;
use sekisho_events::Leaf;
use sekisho_ledger::TILE_WIDTH;
use sekisho_types::UnixTime;

/// How far from its id's time a leaf may stand, in milliseconds: the way from naming to appending.
const SLACK_MS: i64 = 60_000;
/// Bundles in which a leaf with an id is looked for, to tell the time of the first of them.
const NEAR: usize = 4;
/// Bundles that a listing reads at most.
const LISTED_BUNDLES: u64 = 256;

/// An attestation or an issuance.
pub(crate) struct Identity {
    pub id: String,
    pub at: UnixTime,
    pub kind: &'static str,
    /// Empty if what opens the leaf's commitment was erased.
    pub spiffe_id: String,
    pub ends_at: Option<UnixTime>,
    pub log_index: u64,
}

/// The index of the leaf whose `id` this is. Reads files.
pub(crate) fn find(ledger: &Ledger, id: &str) -> Option<u64> {
    // Records of nodes have no leaf of their own.
    let (_, digits) = id.split_once('_').filter(|(kind, _)| ["alr", "att", "iss", "ref"].contains(kind))?;
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
    let begin = |number: u64| begins(ledger, number, size).unwrap_or(i64::MAX);
    let start = partition_point(bundles, |number| begin(number) < milliseconds - SLACK_MS).saturating_sub(1);
    let mut near = (start..bundles).take_while(|number| *number == start || begin(*number) <= milliseconds + SLACK_MS);
    near.find_map(in_bundle)
}

/// The time of the newest leaf, in milliseconds. Reads files.
pub(crate) fn newest_time(ledger: &Ledger) -> Option<i64> {
    let size = ledger.size();
    let last = size.checked_sub(1)? / TILE_WIDTH;
    // The last one may have waited; one bundle may hold only such.
    let entries = (last.saturating_sub(1)..=last).filter_map(|number| ledger.bundle(number, size)).flatten();
    entries.filter_map(|entry| Some(Leaf::decode(&entry.leaf).ok()?.at.millis())).max()
}

/// How many whole bundles hold only leaves from before `time`. Reads files.
pub(crate) fn bundles_before(ledger: &Ledger, time: UnixTime) -> u64 {
    let size = ledger.size();
    // One that a newer one follows whose first leaf is old as well.
    let follows = partition_point(size.div_ceil(TILE_WIDTH), |number| {
        begins(ledger, number, size).is_some_and(|begins| begins < time.millis())
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
    let ends_at = given.not_after;
    Some(Identity { id: given.log_id, at: leaf.at, kind: leaf.event.kind(), spiffe_id, ends_at, log_index })
}

/// The time at which a bundle begins: that of its first leaf which waited in no outbox, or which stands close behind
/// it.
fn begins(ledger: &Ledger, bundle: u64, size: u64) -> Option<i64> {
    let mut first = None;
    for entries in (bundle..).take(NEAR).map_while(|number| ledger.bundle(number, size)) {
        for leaf in entries.iter().filter_map(|entry| Leaf::decode(&entry.leaf).ok()) {
            if matches!(leaf.event.kind(), "attestation" | "issuance" | "refusal") {
                return Some(leaf.at.millis());
            }
            first = first.or(Some(leaf.at.millis()));
        }
    }
    first
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sekisho_disk::NewEntry;
    use sekisho_events::{AttestationId, Attested, AuthorityRemoved, Event, Personal};
    use sekisho_keys::MemoryKey;
    use sekisho_types::{SignatureAlgorithm, TrustDomain};

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn entry(at: i64, event: impl Into<Event>) -> NewEntry {
        let name = TrustDomain::parse("example.org").unwrap();
        let encoded = Leaf::new(name, UnixTime::from_millis(at), event).encode().unwrap();
        NewEntry { leaf: encoded.leaf, side: encoded.side }
    }

    fn id(at: i64) -> [u8; 16] {
        let mut id = [7; 16];
        id[..6].copy_from_slice(&at.to_be_bytes()[2..]);
        id
    }

    fn attested(at: i64) -> NewEntry {
        let agent = sekisho_types::SpiffeId::parse("spiffe://example.org/spire/agent/a").unwrap();
        let (attestor, tls_group) = ("join_token".to_owned(), String::new());
        let (agent, id) = (Personal::new(agent, [1; 32]), AttestationId::new(id(at)));
        let (boot_image, boot_policy_sha256, evidence_sha256) = (None, None, None);
        entry(at, Attested { agent, attestor, boot_image, boot_policy_sha256, evidence_sha256, id, tls_group })
    }

    /// The log took nothing for an hour; changes of before stand behind what came first afterwards.
    #[tokio::test]
    async fn ids_are_found_around_late_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let key = Arc::new(MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap());
        let (ledger, _) = Ledger::open(folder.path(), "o", key).unwrap();
        let begin = 1_700_000_000_000;
        let again = begin + HOUR;
        let times: Vec<i64> = (0..700).map(|n| begin + n * 10).chain((0..700).map(|n| again + n * 10)).collect();
        let mut entries: Vec<NewEntry> = times.iter().map(|at| attested(*at)).collect();
        let waited = (0..600).map(|n| entry(begin + 7000 + n, AuthorityRemoved { authority: format!("a{n}") }));
        entries.splice(1000..1000, waited);
        let last = ledger.append(entries).await.unwrap() + 1999;
        ledger.checkpoint_covering(last).await.unwrap();
        for (number, at) in (0..).zip(&times) {
            let index = if number < 1000 { number } else { number + 600 };
            assert_eq!(find(&ledger, &AttestationId::new(id(*at)).to_string()), Some(index), "{number}");
        }
        assert_eq!(find(&ledger, &AttestationId::new(id(again + HOUR)).to_string()), None);
        assert_eq!(newest_time(&ledger), times.last().copied());
        // Openings are kept as long as they were promised: no bundle counts as older by the changes in it.
        let older = bundles_before(&ledger, UnixTime::from_millis(again));
        assert_eq!(older, 700 / TILE_WIDTH);
        assert_eq!(bundles_before(&ledger, UnixTime::from_millis(begin)), 0);
    }
}
