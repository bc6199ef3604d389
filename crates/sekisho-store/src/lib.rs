//! Durable state in SQLite: one writer thread, group commit, one gapless revision for each write batch and
//! trust domain. This is the only room that speaks SQL.

mod batch;
mod form;
mod jump;
mod reads;
mod records;
mod revocations;
mod schema;
mod writer;

pub use batch::{Batch, Change};
pub use form::{check_stored, stored_entry};
pub use jump::begin_anew;
pub use reads::Reader;
pub use records::{AuthorityRecord, LogMark, OutboxLeaf, PolicyRecord, SpoolPosition, TokenRecord, TokenUse};
pub use revocations::check_stored_revocation;
pub use schema::copy_database;
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
    #[error("the database did not take the change, and nothing of it was kept; check that its folder has free space")]
    NotCommitted,
    #[error("the database failed while it took the change; whether it was kept shows after the server's next start")]
    Unknown,
    #[error("the store's writer has stopped; its log says why, and a restart is needed")]
    Stopped,
}
