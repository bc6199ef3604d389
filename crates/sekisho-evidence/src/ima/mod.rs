//! The kernel's integrity measurement log: every file that it measured, and what that makes of PCR 10.

mod ascii;
mod binary;
mod entry;
mod replay;

pub use entry::{FileDigest, ImaEntry, ImaLog, Template};
pub use replay::Replayed;

/// The PCR into which the kernel measures files.
pub const IMA_PCR: u8 = 10;

#[cfg(test)]
mod tests;
