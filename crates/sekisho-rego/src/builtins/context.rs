//! What a built-in function may use besides its arguments, and how it fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::value::Value;

/// The work that a decision may spend in built-in functions unless its caller says otherwise.
pub const DEFAULT_WORK: u64 = 200_000_000;

/// The work of an element that is compared or copied, where a byte that is read is one.
const ELEMENT: u64 = 16;

/// Lines kept of `print` and `trace` in a decision.
const MAX_LINES: usize = 1_000;

/// A kind of failure, which decides the code that a caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// An argument of a wrong type.
    Type,
    /// The function refused its arguments.
    Builtin,
    /// Two results for one call.
    Conflict,
    /// The call itself is malformed: the compiler is at fault.
    Internal,
    /// The budget of the decision is spent, or its caller stopped it.
    Limit,
}

/// Why a built-in function gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BuiltinError {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// What was wrong, after the name of the function.
    pub message: String,
}

impl BuiltinError {
    /// OPA's code of the failure.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::Type => "eval_type_error",
            ErrorKind::Builtin => "eval_builtin_error",
            ErrorKind::Conflict => "eval_conflict_error",
            ErrorKind::Internal => "eval_internal_error",
            ErrorKind::Limit => "eval_cancel_error",
        }
    }

    /// Whether the failure ends the whole evaluation, strict or not.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self.kind, ErrorKind::Type | ErrorKind::Builtin)
    }
}

/// An error of kind [`ErrorKind::Builtin`].
pub(super) fn failure(message: impl Into<String>) -> BuiltinError {
    BuiltinError { kind: ErrorKind::Builtin, message: message.into() }
}

/// The code of a built-in function: arguments in their number, to a result or none where it is undefined.
pub(super) type Function = fn(&mut Context, &[Value]) -> Outcome;

/// The result of a built-in function: a value, or none where the call is undefined.
pub(super) type Outcome = Result<Option<Value>, BuiltinError>;

/// A value as the outcome.
pub(super) fn done(value: impl Into<Value>) -> Outcome {
    Ok(Some(value.into()))
}

/// Answers calls of built-in functions in their place: by name and arguments; none where the function itself is asked.
#[derive(Clone)]
pub struct Answers(pub Arc<Answer>);

/// See [`Answers`].
pub type Answer = dyn Fn(&str, &[Value]) -> Option<Value> + Send + Sync;

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answers")
    }
}

/// State of one decision that built-in functions read and write.
#[derive(Debug)]
pub struct Context {
    /// The time of the decision in nanoseconds since 1970.
    pub now_ns: i64,
    /// What `uuid.rfc4122` and signatures are derived from; the same seed gives the same decision.
    pub seed: u64,
    /// Lines of `print`.
    pub printed: Vec<String>,
    /// Notes of `trace`.
    pub notes: Vec<String>,
    /// Set by another thread to stop the evaluation.
    pub interrupt: Option<Arc<AtomicBool>>,
    /// Asked before a function is called.
    pub answers: Option<Answers>,
    work: u64,
    pub(super) caches: Caches,
}

/// Compiled patterns and repeated results, kept for one decision.
#[derive(Debug, Default)]
pub(super) struct Caches {
    pub(super) regexes: BTreeMap<String, regex::Regex>,
    pub(super) globs: BTreeMap<(String, Vec<char>), regex::Regex>,
    pub(super) zones: BTreeMap<String, super::zone::Zone>,
}

/// Most patterns that are kept for further decisions: an input may bring others each time.
const MOST_KEPT: usize = 1_000;

impl Caches {
    fn is_large(&self) -> bool {
        self.regexes.len() + self.globs.len() + self.zones.len() > MOST_KEPT
    }
}

impl Context {
    /// A context for one decision at a time, with the default budget.
    #[must_use]
    pub fn new(now_ns: i64) -> Context {
        Context {
            now_ns,
            seed: 0,
            printed: Vec::new(),
            notes: Vec::new(),
            interrupt: None,
            answers: None,
            work: DEFAULT_WORK,
            caches: Caches::default(),
        }
    }

    /// The same context for another decision: compiled patterns are kept, all else is as new.
    #[must_use]
    pub fn renewed(self, now_ns: i64) -> Context {
        let caches = if self.caches.is_large() { Caches::default() } else { self.caches };
        Context { caches, ..Context::new(now_ns) }
    }

    /// The work that is left: about a unit for each byte or element read or written.
    #[must_use]
    pub fn work_left(&self) -> u64 {
        self.work
    }

    /// Sets the work that is left.
    pub fn set_work(&mut self, units: u64) {
        self.work = units;
    }

    /// Pays for work before it is done.
    ///
    /// # Errors
    /// When the budget does not suffice or the evaluation was interrupted.
    pub fn spend(&mut self, units: usize) -> Result<(), BuiltinError> {
        if self.interrupt.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Err(BuiltinError { kind: ErrorKind::Limit, message: "evaluation was interrupted".to_owned() });
        }
        let units = u64::try_from(units).unwrap_or(u64::MAX).saturating_add(1);
        match self.work.checked_sub(units) {
            Some(left) => {
                self.work = left;
                Ok(())
            }
            None => {
                self.work = 0;
                Err(BuiltinError {
                    kind: ErrorKind::Limit,
                    message: "the decision's budget of work is spent".to_owned(),
                })
            }
        }
    }

    /// Pays for elements that are compared or copied, by the weight of their collection: each is another place in
    /// memory, whose count of uses changes.
    pub(super) fn spend_elements(&mut self, weight: u64) -> Result<(), BuiltinError> {
        self.spend(usize::try_from(weight.saturating_mul(ELEMENT)).unwrap_or(usize::MAX))
    }

    /// Pays for putting elements in order.
    pub(super) fn spend_order(&mut self, weight: u64, count: usize) -> Result<(), BuiltinError> {
        self.spend_elements(weight.saturating_mul(u64::from(2 + count.checked_ilog2().unwrap_or(0))) / 2)
    }

    pub(super) fn add_printed(&mut self, line: String) {
        if self.printed.len() < MAX_LINES {
            self.printed.push(line);
        }
    }

    pub(super) fn add_note(&mut self, line: String) {
        if self.notes.len() < MAX_LINES {
            self.notes.push(line);
        }
    }
}

/// The deepest value that a function reads or makes as a whole.
pub(super) const MAX_DEPTH: usize = 1_000;

impl Context {
    /// Pays for reading a value to its leaves, and refuses one that is nested too deeply. Values share their parts, so
    /// that a small one can be large when it is written out.
    pub(super) fn spend_value(&mut self, value: &Value) -> Result<(), BuiltinError> {
        let mut stack = vec![(value, 0_usize)];
        while let Some((value, depth)) = stack.pop() {
            if depth > MAX_DEPTH {
                return Err(failure("value is nested too deeply"));
            }
            match value {
                Value::String(text) => self.spend(text.len())?,
                Value::Array(items) => {
                    self.spend(items.len())?;
                    stack.extend(items.iter().map(|item| (item, depth + 1)));
                }
                Value::Set(items) => {
                    self.spend(items.len())?;
                    stack.extend(items.iter().map(|item| (item, depth + 1)));
                }
                Value::Object(object) => {
                    self.spend(object.len())?;
                    for (key, value) in object.iter() {
                        stack.push((key, depth + 1));
                        stack.push((value, depth + 1));
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) => self.spend(4)?,
            }
        }
        Ok(())
    }
}
