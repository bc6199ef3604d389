//! Signers that are not a TPM: keys in memory and keys in files of mode 0600. Only this crate creates private keys.

mod file;
mod memory;
mod parked;

pub use file::{load, load_or_create};
pub use memory::{KeyError, MemoryKey};
pub use parked::{park, unlink_parked, unpark};
