//! Signers that are no TPM: keys in memory and keys in files of mode 0600. Only this room makes private keys.

mod file;
mod memory;

pub use file::{load, load_or_create, remove};
pub use memory::{KeyError, MemoryKey};
