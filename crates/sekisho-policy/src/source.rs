//! Policy sources, and why they are refused.

/// The rule that decides a request.
pub const ENTRY_RULE: &str = "data.workload.authz.allow";
/// Largest policy set, in bytes.
pub const MAX_POLICY_BYTES: usize = 1024 * 1024;
pub(crate) const MAX_FILES: usize = 256;

/// One policy file: its name as shown in messages, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// Why a policy set is not loaded. The author fixes it; the last good set stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("{file}:{line}: {reason}")]
    At { file: String, line: u32, reason: String },
    #[error(
        "{file}:{line}: {form} does not go with {file}:{old_line}: {old_form}, which is Rego v0; write the whole file \
            as v1, with `if` before each body"
    )]
    Mixed { file: String, line: u32, form: String, old_line: u32, old_form: String },
    #[error("no rule `{ENTRY_RULE}`: a policy set needs one, in `package workload.authz`")]
    NoEntryRule,
    #[error("the policy set has more than {MAX_FILES} files or {MAX_POLICY_BYTES} bytes")]
    TooLarge,
    #[error("the set's own test `{name}` fails ({others} more do): {detail}; `sekisho policy test` shows all of them")]
    Test { name: String, detail: String, others: usize },
    #[error("the policy set could not be prepared: {0}")]
    Prepare(String),
}

impl PolicyError {
    /// The first of the engine's errors: its place, its reason, and what to write instead.
    pub(crate) fn of(errors: &[sekisho_rego::syntax::error::Error]) -> Self {
        match errors.first() {
            Some(error) => {
                Self::At { file: error.file.to_string(), line: error.span.line, reason: error.full_message() }
            }
            None => Self::Prepare("the engine refuses it without a reason".to_owned()),
        }
    }
}
