//! Batches of records between the log and what is kept of them.

/// A batch whose leaf is in the log.
#[derive(PartialEq, Eq)]
pub(crate) struct Logged {
    pub spool: String,
    pub root: [u8; 32],
    pub next: u64,
    pub missing: u64,
}

/// Batches that were logged and could not be stored, newest first, and under which leaf: they come again, and it counts then.
pub(crate) type Unstored = Vec<(Logged, u64)>;
