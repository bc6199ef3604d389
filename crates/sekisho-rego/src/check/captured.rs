//! Arguments of `print` and expressions in templates: they are evaluated as sets of at most one value, and every
//! variable in them must be bound outside.

use super::flat::{Callee, Comprehension, Item, Step, StepKind, Variables, Vars};
use super::functions::Functions;
use super::safety::Checker;
use super::vars::{self, Closure, Skip};
use crate::syntax::ast::Source;
use crate::syntax::error::{Code, Error};

/// Reports the variables that nothing binds. `bound` are those with a value from outside of the body.
pub(super) fn check(
    functions: &Functions<'_>,
    source: &Source,
    variables: &Variables,
    bound: &Vars,
    body: &[Step],
    errors: &mut Vec<Error>,
) {
    if has_captured(body) {
        let mut checker = Captured { safety: Checker { functions }, source, variables, errors };
        checker.body(bound, body);
    }
}

fn captured(step: &Step) -> Option<(&[Item], bool)> {
    match &step.kind {
        StepKind::Call { callee: Callee::Builtin("print"), arguments } => Some((arguments, true)),
        StepKind::Call { callee: Callee::Builtin("internal.template_string"), arguments } => match arguments.first() {
            Some(Item::Array(parts)) => Some((parts, false)),
            _ => None,
        },
        _ => None,
    }
}

fn has_captured(body: &[Step]) -> bool {
    let mut found = false;
    super::visit::steps(body, &mut |step| found |= captured(step).is_some());
    found
}

struct Captured<'a> {
    safety: Checker<'a, 'a>,
    source: &'a Source,
    variables: &'a Variables,
    errors: &'a mut Vec<Error>,
}

impl Captured<'_> {
    fn body(&mut self, bound: &Vars, body: &[Step]) {
        let mut all = bound.clone();
        let (taken, _) = self.safety.order(bound, body);
        for step in taken.iter().filter_map(|index| body.get(*index)) {
            all.extend(self.safety.visible(step));
        }
        // What `print` shows must be bound before it in the text; a template waits for what it needs.
        let mut before = bound.clone();
        for step in body {
            if let Some((parts, print)) = captured(step) {
                for part in parts {
                    if let Item::Comprehension(part) = part {
                        self.part(part, if print { &before } else { &all });
                    }
                }
            }
            let known = if captured(step).is_some_and(|(_, print)| !print) { &all } else { &before };
            vars::closures(step, &mut |closure| self.closure(closure, known));
            let own: Vars = vars::of_step(step, Skip::default()).into_iter().filter(|id| before.contains(id)).collect();
            let outputs = self.safety.outputs(step, &own);
            before.extend(outputs);
            vars::in_step(step, Skip::CLOSURES, &mut |id| {
                if self.variables.name(id).is_none() {
                    before.insert(id);
                }
            });
        }
    }

    fn part(&mut self, part: &Comprehension, known: &Vars) {
        let Some(last) = part.body.last() else { return };
        let mut missing = Vars::new();
        for step in &part.body {
            missing.extend(self.safety.visible(step).difference(known));
        }
        for name in missing.iter().filter_map(|id| self.variables.name(*id)) {
            let message = format!("var {name} is undeclared");
            self.errors.push(Error::new(Code::Compile, self.source, last.span, message));
        }
    }

    fn closure(&mut self, closure: Closure<'_>, known: &Vars) {
        let known = &vars::of_closure(closure).into_iter().filter(|id| known.contains(id)).collect::<Vars>();
        match closure {
            Closure::Comprehension(comprehension) => self.body(known, &comprehension.body),
            Closure::Step(step) => match &step.kind {
                StepKind::Every { key, value, body, .. } => {
                    let mut known = known.clone();
                    known.extend(key.iter().chain([value]));
                    self.body(&known, body);
                }
                StepKind::Not { body, .. } => self.body(known, body),
                StepKind::Logical { left, right, .. } => {
                    self.body(known, left);
                    self.body(known, right);
                }
                _ => {}
            },
        }
    }
}
