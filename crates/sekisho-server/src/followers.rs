//! Operators who follow what happens: records as they arrive from nodes, and that something changed. This module
//! knows nothing of what
//! is done with either; nothing here reads the database.

use std::sync::Arc;

use sekisho_disk::IndexedRecord;
use tokio::sync::{broadcast, watch};

/// Operators who follow records at once.
const MOST: usize = 32;
/// Batches that wait for a follower; one that reads more slowly misses some.
const WAITING: usize = 256;

/// A batch of records that is in the log.
pub(crate) struct Arrived {
    pub log_index: u64,
    pub records: Vec<IndexedRecord>,
}

pub(crate) struct Followers {
    records: broadcast::Sender<Arc<Arrived>>,
    /// Counts changes of the state, and of what is found out about the policy folder.
    changes: watch::Sender<u64>,
}

impl Followers {
    pub(crate) fn new() -> Self {
        Self { records: broadcast::channel(WAITING).0, changes: watch::channel(0).0 }
    }

    /// What followers are sent of these records; `None` if there are none.
    pub(crate) fn wants(&self, records: &[IndexedRecord]) -> Option<Vec<IndexedRecord>> {
        (self.records.receiver_count() > 0 && !records.is_empty()).then(|| records.to_vec())
    }

    pub(crate) fn arrived(&self, log_index: u64, records: Vec<IndexedRecord>) {
        // The last follower may have gone.
        let _none = self.records.send(Arc::new(Arrived { log_index, records }));
    }

    /// Records from now on; `None` if too many follow already.
    pub(crate) fn records(&self) -> Option<broadcast::Receiver<Arc<Arrived>>> {
        (self.records.receiver_count() < MOST).then(|| self.records.subscribe())
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_takes_a_place_and_leaves_it() {
        let followers = Followers::new();
        let record = IndexedRecord { key: 1, class: 1, record: "{}".into() };
        assert!(followers.wants(std::slice::from_ref(&record)).is_none(), "none follows");
        let mut places: Vec<_> = (0..MOST).map(|_| followers.records().unwrap()).collect();
        assert!(followers.records().is_none(), "all places are taken");
        followers.arrived(7, followers.wants(&[record]).unwrap());
        assert_eq!(places.pop().unwrap().try_recv().unwrap().log_index, 7);
        assert!(followers.records().is_some() && followers.wants(&[]).is_none());
    }
}
