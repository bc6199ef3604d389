//! The kernel's integrity measurement log: every file that it measured, and what that makes of PCR 10.

mod ascii;
mod binary;
mod entry;
mod replay;

pub use entry::{FileDigest, IMA_PCR, ImaEntry, ImaLog, Template};
pub use replay::Replayed;

#[cfg(test)]
mod tests;
