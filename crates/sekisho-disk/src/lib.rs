//! Files that survive a crash: the ledger's tiles behind a write-ahead file, spools, segments of records, and sealed
//! caches.
//!
//! This crate knows what must be on disk before what; it does not know what the bytes mean.

mod atomic;
mod disk;
mod drain;
mod durable;
mod error;
mod folder_lock;
mod index_entry;
mod index_run;
mod key_index;
mod ledger;
mod ledger_check;
mod ledger_entry;
mod ledger_files;
mod ledger_tiles;
mod sealed;
mod segment;
mod segment_files;
mod segments;
mod spool;
mod wal;

pub use atomic::{private_folder, remove_file, write_atomic};
pub use disk::lossy::{LossyDisk, Unsynced};
pub use drain::SendOutcome;
pub use error::{DiskError, InUse};
pub use folder_lock::{lock_folder, lock_used_folder};
pub use ledger::Ledger;
pub use ledger_check::{LogCheck, LogDamage};
pub use ledger_entry::{Appended, NewEntry, Recovered};
pub use sealed::{SealedBy, SealedCache};
pub use segment::IndexedRecord;
pub use segments::{Found, Segments};
pub use spool::{Spool, SpoolBatch};
