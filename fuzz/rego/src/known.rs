//! Differences that stay, each with its reason.

use crate::opa::Refusal;
use crate::ours::Outcome;

/// See the module.
pub(crate) struct Known;

impl Known {
    /// Whether a module that one side refuses, or both differently, is known.
    pub(crate) fn refusal(ours: &[Refusal], theirs: &[Refusal]) -> bool {
        // Our checker of types bounds its work: it takes what is deep or has many alternatives to be anything.
        let types = |errors: &[Refusal]| errors.iter().all(|error| error.code == "rego_type_error");
        types(ours) && types(theirs) && !theirs.is_empty()
    }

    /// Whether outcomes of a rule that differ are known.
    pub(crate) fn outcome(ours: &Outcome, theirs: &Outcome) -> bool {
        // An error ends an evaluation, and which errors one meets depends on the order of conditions and on how much of
        // a document is computed: we take cheap conditions first and compute a document once for all its uses; OPA
        // computes of a document what a reference asks for.
        const CODES: [&str; 3] = ["eval_builtin_error", "eval_conflict_error", "eval_type_error"];
        let failed = |one: &Outcome| matches!(one, Outcome::Failed(code, _) if CODES.contains(&code.as_str()));
        failed(ours) || failed(theirs)
    }
}
