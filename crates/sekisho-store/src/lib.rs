//! Durable state with gapless revisions: one for each write batch and trust domain. In SQLite, and in memory for tests
//! and simulation. This is the only crate that speaks SQL.
//!
//! Writes are values ([`Batch`]): what must hold, what is written, what is recorded. Their meaning is in one place
//! (`execute.rs`); an implementation stores rows.

mod batch;
mod changed_form;
#[cfg(test)]
mod conformance;
mod execute;
mod form;
mod memory;
mod observers;
mod open;
mod records;
mod revocation_form;
mod rows;
mod sqlite;
mod store;

pub use batch::{Batch, Change, Committed, Conflict, Delta, EntryVersion, Expect, Item, Write};
pub use form::check_stored;
pub use memory::MemoryStore;
pub use open::{MemoryDevice, open};
pub use records::{
    AlertRecord, AlertSeverity, AuthorityRecord, Changed, ChangedId, DeviceRecord, Epoch, EpochRecord, History,
    LogMark, OutboxLeaf, Past, PolicyRecord, ServerId, SpoolPosition, TokenRecord,
};
pub use revocation_form::check_stored_revocation;
pub use sqlite::{Reader, SqliteStore, copy_database, start_new_epoch};
pub use store::{Answer, Marks, Observer, Snapshot, Store};

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database: {0}; check that its folder has free space and belongs to this user")]
    Sql(#[from] rusqlite::Error),
    #[error("the database was written by a newer version (schema {found}, this one knows {known}); use that version")]
    NewerSchema { found: i64, known: i64 },
    #[error("the database {path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("a stored {0} is not readable; restore the database from a backup")]
    Damaged(&'static str),
    #[error("the database did not take the change, and nothing of it was kept; check that its folder has free space")]
    NotCommitted,
    #[error("the database failed while it took the change; whether it was kept shows after the server's next start")]
    Unknown,
    #[error(
        "{0} records of changes wait for the log, which accepts none now; the server's log says why; the server tries \
         again each second"
    )]
    OutboxWaits(i64),
    #[error("the store's writer has stopped; its log says why, and a restart is needed")]
    Stopped,
}
