//! Evidence after it was checked: typed claims with their source and their age.
//!
//! Each kind is a type of its own: what may stand behind a request is for the request to say, and one kind cannot be passed
//! in place of another.

use std::collections::BTreeSet;

use crate::{Claims, Selector, UnixTime};

/// What a piece of evidence is about, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvidenceClass {
    /// The node that asks; nothing about the process.
    Node,
    /// The process, as measured by software on its node.
    Process,
}

impl EvidenceClass {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Process => "process",
        }
    }
}

/// What a node showed when it attested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEvidence {
    /// The attestor and its version, for example `x509pop/1`.
    pub source: String,
    pub selectors: BTreeSet<Selector>,
    /// What an identity may carry of it.
    pub claims: Claims,
    /// When it stops to prove anything, for example the end of a certificate; `None` when nothing says so.
    pub ends_at: Option<UnixTime>,
}

/// What an attestor on a node measured of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEvidence {
    /// The attestor and its version, for example `unix/1`.
    pub source: String,
    pub measured_at: UnixTime,
    pub selectors: BTreeSet<Selector>,
    /// What an identity may carry of it, for example the digest of the executable.
    pub claims: Claims,
}
