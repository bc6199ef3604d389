//! Batches of records between the log and what is kept of them.

use std::collections::BTreeMap;

use sekisho_disk::{IndexedRecord, Ledger};
use sekisho_events::{Event, Leaf};
use sekisho_ledger::{Batch, TILE_WIDTH};

/// Where a batch comes from: its node, which its leaf names, and the node's spool, which no leaf names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub reporter: String,
    /// `None` if only the log tells of the batch.
    pub spool: Option<String>,
}

impl Source {
    fn may_be(&self, other: &Self) -> bool {
        let is_other_spool = self.spool.as_ref().zip(other.spool.as_ref()).is_some_and(|(one, other)| one != other);
        self.reporter == other.reporter && !is_other_spool
    }
}

/// A batch whose leaf is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub source: Source,
    /// The position of its first record.
    pub first: u64,
    pub count: u64,
    pub root: [u8; 32],
    /// Records that its leaf, or the one before it, reports as lost.
    pub missing: u64,
    pub log_index: u64,
}

impl Logged {
    /// Whether these records of `source`, of which the first is at `first`, begin with this batch.
    fn begins(&self, source: &Source, first: u64, records: &[IndexedRecord]) -> bool {
        let own = usize::try_from(self.count).ok().and_then(|count| records.get(..count));
        self.first == first
            && self.source.may_be(source)
            && own.is_some_and(|own| !own.is_empty() && root_of(own) == self.root)
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
/// begin. A node that started again meanwhile sends more behind it. A batch of another node or spool never counts: its
/// leaf names that node, and these records would be kept under it.
pub(crate) fn earlier(
    unstored: &Unstored,
    before: &ByFirst,
    source: &Source,
    first: u64,
    records: &[IndexedRecord],
) -> Option<Logged> {
    let logged = before.get(&first).into_iter().flatten().chain(unstored);
    logged.filter(|logged| logged.begins(source, first, records)).max_by_key(|logged| logged.count).cloned()
}

/// Bundles of the log in which a start looks for batches.
const BUNDLES: u64 = 8;

/// The batches at the end of the log. A server that stopped between a batch's leaf and the store cannot know of it
/// otherwise: the batch comes again, and a root of the same records of one node is of the same batch, since each
/// record's id is drawn. Leaves whose reporter cannot be opened any more are left out. Reads files.
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
            if let Event::DecisionsRecorded(batch) = &leaf.event
                && let Some(reporter) = batch.reporter.value().cloned()
            {
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
                let source = Source { reporter, spool: None };
                let logged = Logged { source, first, count, root, missing, log_index };
                found.entry(first).or_default().push(logged);
            }
            last = Some(leaf);
        }
    }
    found
}
