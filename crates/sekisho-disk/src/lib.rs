//! Files that survive a crash: the ledger's tiles behind a write-ahead file, spools, and sealed caches.
//!
//! This crate knows what must be on disk before what; it does not know what the bytes mean.

mod atomic;
mod ledger;
mod ledger_tiles;
mod sealed;
mod spool;
mod wal;

pub use atomic::{DiskError, private_folder, write_atomic};
pub use ledger::{Appended, Ledger, NewEntry, Recovered};
pub use sealed::{SEALED_BY, SealedCache};
pub use spool::{Spool, SpoolBatch};
