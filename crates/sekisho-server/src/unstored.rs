//! Batches of records between the log and what is kept of them.

use std::collections::BTreeMap;

use sekisho_disk::Ledger;
use sekisho_events::{Event, Leaf};
use sekisho_ledger::TILE_WIDTH;

/// A batch whose leaf is in the log.
#[derive(PartialEq, Eq)]
pub(crate) struct Logged {
    pub spool: String,
    pub root: [u8; 32],
    pub next: u64,
    pub missing: u64,
}

/// Batches that were logged and could not be stored, newest first, and under which leaf: they come again, and it counts
/// then.
pub(crate) type Unstored = Vec<(Logged, u64)>;

/// Leaves by the root of their batch.
pub(crate) type ByRoot = BTreeMap<[u8; 32], u64>;

/// Bundles of the log in which a start looks for batches.
const BUNDLES: u64 = 8;

/// The batches at the end of the log. A server that stopped between a batch's leaf and the store cannot know of it
/// otherwise: the batch comes again, and a root of the same records is of the same batch, since each record's id is
/// drawn. Reads files.
pub(crate) fn logged_before(ledger: &Ledger) -> ByRoot {
    let size = ledger.size();
    let bundles = size.div_ceil(TILE_WIDTH);
    let mut found = ByRoot::new();
    for number in bundles.saturating_sub(BUNDLES)..bundles {
        let entries = ledger.bundle(number, size).unwrap_or_default();
        for (index, entry) in (number * TILE_WIDTH..).zip(entries) {
            if let Ok(Leaf { event: Event::DecisionsRecorded(batch), .. }) = Leaf::decode(&entry.leaf) {
                found.insert(*batch.root.as_bytes(), index);
            }
        }
    }
    found
}
