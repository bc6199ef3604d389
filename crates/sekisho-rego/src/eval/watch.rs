//! What is recorded of an evaluation beside its result.

use super::machine::Machine;
use super::rules::path_text;
use super::trace::{Considered, Failure};
use crate::program::{Base, Branch, Operand, Pattern, RuleSet, Step, StepKind};
use crate::value::Value;

impl<'a> Machine<'a> {
    /// Whether every rule has to be tried, so that all that is known of it is recorded.
    pub(super) fn is_watched(&self) -> bool {
        self.coverage.is_some() || self.trace.is_some()
    }

    /// The failure of a step, with the values it read.
    pub(super) fn failure(&self, step: &'a Step, base: usize) -> Failure {
        let read: Vec<&Operand> = match &step.kind {
            StepKind::Get { base: Base::Value(operand), .. } => vec![operand],
            StepKind::Match { value, pattern: Pattern::Equal(other) } => vec![value, other],
            StepKind::Match { value, .. } | StepKind::Test { value } | StepKind::Traverse { value, .. } => vec![value],
            StepKind::Compare { left, right, .. } => vec![left, right],
            StepKind::Each { collection, .. } => vec![collection],
            StepKind::Member { key, value, collection, .. } => key.iter().chain([value, collection]).collect(),
            StepKind::Call { arguments, .. } => arguments.iter().collect(),
            StepKind::Every(every) => vec![&every.domain],
            _ => Vec::new(),
        };
        let values = read.into_iter().map(|operand| self.peek(operand, base).into_owned()).collect::<Vec<Value>>();
        Failure { span: step.span, values }
    }

    /// Records that a branch was considered.
    pub(super) fn considered(&mut self, set: &RuleSet, branch: &Branch, holds: bool) {
        let failed = self.failed.take().filter(|_| !holds);
        let (module, depth) = (self.module as usize, self.depth());
        if let Some(trace) = &mut self.trace {
            let document = || path_text(&set.path);
            trace.add(|| Considered { document: document(), module, span: branch.span, depth, failed });
        }
    }
}
