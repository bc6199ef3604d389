//! Which rules were considered, and which condition of each failed.

use crate::syntax::ast::Span;
use crate::value::Value;

/// The most rules one trace holds.
const MOST: usize = 10_000;

/// The rules that an evaluation considered, in the order in which they finished.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The rules.
    pub considered: Vec<Considered>,
    /// How many more there were than a trace holds.
    pub omitted: usize,
}

/// A rule, or an `else` branch of one, that was considered.
#[derive(Clone, Debug)]
pub struct Considered {
    /// The document it defines: `data.a.b`.
    pub document: String,
    /// The module, by its number in the policy.
    pub module: usize,
    /// The head, or the branch.
    pub span: Span,
    /// How deep within other rules and comprehensions.
    pub depth: u32,
    /// The condition that failed: the one furthest in the body; none where the rule holds.
    pub failed: Option<Failure>,
}

/// A condition that did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its place in the module.
    pub span: Span,
    /// The values it compared or was called with, as far as they were there.
    pub values: Vec<Value>,
}

impl Trace {
    pub(super) fn add(&mut self, considered: impl FnOnce() -> Considered) {
        match self.considered.len() < MOST {
            true => self.considered.push(considered()),
            false => self.omitted += 1,
        }
    }
}
