//! Batches of records between the log and what is kept of them.

use std::collections::BTreeMap;

use sekisho_disk::{IndexedRecord, Ledger};
use sekisho_events::{Event, Leaf};
use sekisho_ledger::{Batch, TILE_WIDTH};

/// A batch whose leaf is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    /// The position of its first record.
    pub first: u64,
    pub count: u64,
    pub root: [u8; 32],
    /// Records that its leaf, or the one before it, reports as lost.
    pub missing: u64,
    pub log_index: u64,
}

impl Logged {
    /// Whether these records, of which the first is at `first`, begin with this batch.
    fn begins(&self, first: u64, records: &[IndexedRecord]) -> bool {
        let own = usize::try_from(self.count).ok().and_then(|count| records.get(..count));
        self.first == first && own.is_some_and(|own| !own.is_empty() && root_of(own) == self.root)
    }
}

/// The root of a batch.
pub(crate) fn root_of(records: &[IndexedRecord]) -> [u8; 32] {
    Batch::of(records.iter().map(|kept| kept.record.as_ref())).root()
}

/// Batches that this run logged and could not store, newest first: they come again, and their leaves count then.
pub(crate) type Unstored = Vec<Logged>;

/// Batches by the position of their first record.
pub(crate) type ByFirst = BTreeMap<u64, Vec<Logged>>;

/// The longest batch that this run or an earlier one has logged, that is not stored, and with which these records
/// begin. A node that started again meanwhile sends more behind it.
pub(crate) fn earlier(unstored: &Unstored, before: &ByFirst, first: u64, records: &[IndexedRecord]) -> Option<Logged> {
    let logged = before.get(&first).into_iter().flatten().chain(unstored);
    logged.filter(|logged| logged.begins(first, records)).max_by_key(|logged| logged.count).cloned()
}

/// Bundles of the log in which a start looks for batches.
const BUNDLES: u64 = 8;

/// The batches at the end of the log. A server that stopped between a batch's leaf and the store cannot know of it
/// otherwise: the batch comes again, and a root of the same records is of the same batch, since each record's id is
/// drawn. Reads files.
pub(crate) fn logged_before(ledger: &Ledger) -> ByFirst {
    let size = ledger.size();
    let bundles = size.div_ceil(TILE_WIDTH);
    let (mut found, mut last) = (ByFirst::new(), None);
    for number in bundles.saturating_sub(BUNDLES)..bundles {
        let entries = ledger.bundle(number, size).unwrap_or_default();
        for (log_index, entry) in (number * TILE_WIDTH..).zip(entries) {
            let Ok(leaf) = Leaf::decode_with_side(&entry.leaf, &entry.side) else {
                last = None;
                continue;
            };
            if let Event::DecisionsRecorded(batch) = &leaf.event {
                // Both were written together.
                let missing = match &last {
                    Some(Leaf { at, event: Event::RecordsLost(gap), .. })
                        if *at == leaf.at && gap.reporter.value() == batch.reporter.value() =>
                    {
                        gap.lost
                    }
                    _ => 0,
                };
                let (first, count, root) = (batch.first, batch.count, *batch.root.as_bytes());
                let logged = Logged { first, count, root, missing, log_index };
                found.entry(first).or_default().push(logged);
            }
            last = Some(leaf);
        }
    }
    found
}
