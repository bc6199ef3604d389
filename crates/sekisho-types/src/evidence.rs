//! Evidence after it was checked: typed claims with their source and their age.

use std::collections::BTreeSet;

use crate::{Claims, Selector, UnixTime};

/// What a piece of evidence is about, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvidenceClass {
    /// The node that asks; nothing about the process.
    Node,
    /// The process, as measured by software on its node.
    Process,
    /// The node, as measured by hardware that signs.
    Hardware,
}

impl EvidenceClass {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Process => "process",
            Self::Hardware => "hardware",
        }
    }
}

/// One piece of checked evidence. The issuing gate takes a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub class: EvidenceClass,
    /// The attestor and its version, for example `unix/1`.
    pub source: String,
    pub measured_at: UnixTime,
    pub selectors: BTreeSet<Selector>,
    /// What an identity may carry of it, for example the digest of the executable.
    pub claims: Claims,
}
