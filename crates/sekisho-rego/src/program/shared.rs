//! What all parts of a program name.

/// The index of a rule set.
pub(crate) type RuleSetId = u32;

/// The index of a node of the tree.
pub(crate) type NodeId = u32;

/// A place in a module: the file, the line and the column, both from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name the module was given.
    pub file: std::sync::Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

/// Why a module cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {code}: {message}", place.file, place.line)]
pub struct ProgramError {
    /// OPA's code of the error.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub place: Place,
}
