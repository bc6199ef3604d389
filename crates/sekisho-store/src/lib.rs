//! Durable state in SQLite: one writer thread, group commit, one gapless revision for each write batch and
//! trust domain. This is the only room that speaks SQL.

mod batch;
mod form;
mod reads;
mod records;
mod revocations;
mod schema;
mod writer;

pub use batch::{Batch, Change};
pub use form::{check_stored, stored_entry};
pub use reads::Reader;
pub use records::{AuthorityRecord, LogMark, OutboxLeaf, PolicyRecord, SpoolPosition, TokenRecord, TokenUse};
pub use revocations::check_stored_revocation;
pub use schema::{begin_anew, copy_database};
pub use writer::{Committed, Store};

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
    #[error("the store's writer has stopped")]
    Stopped,
}
