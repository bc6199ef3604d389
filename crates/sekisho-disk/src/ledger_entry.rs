//! What is appended to a log, and at which pace.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::DiskError;

/// Bytes that end a batch.
pub(crate) const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// When tiles are written, and when they are made durable.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) publish_every: Duration,
    /// The write-ahead file is emptied above this size.
    pub(crate) wal_bytes: u64,
}

/// The index of an entry, or of the first of several.
pub type Appended = Result<u64, Arc<DiskError>>;

/// An entry to be: a leaf, and side data that is kept beside it and not hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    pub leaf: Vec<u8>,
    pub side: Vec<u8>,
}

/// Entries that stand one behind the other in the log.
pub(crate) struct Append {
    pub(crate) entries: Vec<NewEntry>,
    /// The write-ahead file is emptied before the answer, so that nothing comes back from it.
    pub(crate) settle: bool,
    pub(crate) done: oneshot::Sender<Appended>,
}

/// What opening a log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    pub size: u64,
    /// Entries that came from the write-ahead file.
    pub replayed: u64,
}
