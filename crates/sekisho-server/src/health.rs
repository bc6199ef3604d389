//! Whether this server can do its work now, as far as is known.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use sekisho_disk::DiskError;
use sekisho_store::StoreError;

/// How the last append to the ledger went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Journal {
    Works,
    Failed,
    /// Only a restart helps.
    Stopped,
}

pub(crate) struct Health {
    journal: Mutex<Journal>,
    /// Whether the store refused the last batch.
    store_fails: AtomicBool,
    /// The parts that are not usable; before the first look, all of it.
    pub failing: RwLock<Vec<&'static str>>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            journal: Mutex::new(Journal::Works),
            store_fails: AtomicBool::new(false),
            failing: RwLock::new(vec!["starting"]),
        }
    }

    /// The parts that are not usable now.
    pub(crate) fn failing(&self) -> Vec<&'static str> {
        let mut failing = self.failing.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Known at once, not at the next look.
        if self.journal() != Journal::Works && !failing.contains(&"ledger") {
            failing.push("ledger");
        }
        if self.store_fails.load(Ordering::Relaxed) && !failing.contains(&"store") {
            failing.push("store");
        }
        failing
    }

    /// Remembers how an append to the ledger went.
    pub(crate) fn appended<T>(&self, outcome: &Result<T, impl AsRef<DiskError>>) {
        let outcome = match outcome {
            Ok(_) => Journal::Works,
            // The caller's entry was at fault, not the ledger.
            Err(error) if matches!(error.as_ref(), DiskError::Rule(_)) => return,
            Err(error) if matches!(error.as_ref(), DiskError::Stopped(_)) => Journal::Stopped,
            Err(_) => Journal::Failed,
        };
        *self.journal.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }

    /// Remembers how a write to the store went.
    pub(crate) fn stored<T>(&self, outcome: &Result<T, StoreError>) {
        self.store_fails.store(outcome.is_err(), Ordering::Relaxed);
    }

    fn journal(&self) -> Journal {
        *self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk that takes a durable write again takes the next leaf as well, unless the ledger has given up.
    pub(crate) fn disk_works(&self) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if *journal == Journal::Failed {
            *journal = Journal::Works;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_failed_write_clears_readiness() {
        let health = Health::new();
        health.failing.write().unwrap().clear();
        health.stored(&Err::<(), _>(StoreError::NotCommitted));
        assert_eq!(health.failing(), ["store"]);
        health.stored(&Ok(()));
        assert!(health.failing().is_empty());
    }

    fn failed(error: DiskError) -> Result<u64, Arc<DiskError>> {
        Err(Arc::new(error))
    }

    #[test]
    fn a_failed_ledger_clears_readiness() {
        let health = Health::new();
        assert_eq!(health.failing(), ["starting"]);
        health.failing.write().unwrap().clear();
        let full = || DiskError::Io { path: "wal".into(), source: std::io::ErrorKind::StorageFull.into() };
        health.appended(&failed(full()));
        assert_eq!(health.failing(), ["ledger"]);
        health.appended(&Ok::<_, Arc<DiskError>>(1));
        assert!(health.failing().is_empty());
        health.appended(&failed(full()));
        health.disk_works();
        assert!(health.failing().is_empty());
        health.appended(&failed(DiskError::Rule("too long".into())));
        assert!(health.failing().is_empty(), "a leaf that is too long is no failure of the ledger");
        health.appended(&failed(DiskError::Stopped("fsync".into())));
        health.disk_works();
        assert_eq!(health.failing(), ["ledger"], "a ledger that gave up works again after a restart only");
    }
}
