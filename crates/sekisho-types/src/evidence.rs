//! What evidence is about. Evidence itself is made by its verifiers only (`sekisho-evidence`).

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
