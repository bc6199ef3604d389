//! Why an evaluation ends without a result.

use crate::program::Place;

/// The classes of errors, named as OPA names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EvalCode {
    /// A rule, function or object has two values for one place.
    Conflict,
    /// A built-in function was given a value of a wrong type.
    Type,
    /// A built-in function cannot give a result.
    Builtin,
    /// Replaced data cannot be merged with what is there.
    WithMerge,
    /// The evaluation was interrupted from outside.
    Cancel,
    /// A bound on steps, depth or memory was reached.
    Limit,
    /// The engine is at fault.
    Internal,
}

impl EvalCode {
    /// OPA's name of the class.
    pub fn as_str(self) -> &'static str {
        match self {
            EvalCode::Conflict => "eval_conflict_error",
            EvalCode::Type => "eval_type_error",
            EvalCode::Builtin => "eval_builtin_error",
            EvalCode::WithMerge => "eval_with_merge_error",
            EvalCode::Cancel => "eval_cancel_error",
            EvalCode::Limit => "eval_limit_error",
            EvalCode::Internal => "eval_internal_error",
        }
    }
}

/// Why an evaluation stopped without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    /// The class.
    pub code: EvalCode,
    /// What happened.
    pub message: String,
    /// Where, if a place of a module is at fault.
    pub place: Option<Place>,
}

impl std::fmt::Display for EvalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}: ", place.file, place.line)?;
        }
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for EvalError {}
