//! Conditions that cannot fail with an error come first, where what they read is there.
//!
//! They are cheap, most rules end at one of them, and the index of rules stands on them: it leaves a rule out by the
//! condition that would have stopped it, and so never hides an error.

use std::collections::HashSet;

use super::step::{Base, Operand, Pattern, Slot, Step, StepKind};

/// Puts the steps of a body whose result depends on bound slots alone before all others.
pub(super) fn early_first(steps: Vec<Step>, parameters: &[Pattern]) -> Vec<Step> {
    let mut bound = HashSet::new();
    parameters.iter().for_each(|parameter| pattern_binds(parameter, &mut bound));
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for step in steps {
        match is_early(&step.kind, &bound) {
            true => {
                step_binds(&step.kind, &mut bound);
                early.push(step);
            }
            false => late.push(step),
        }
    }
    early.append(&mut late);
    early
}

fn is_early(kind: &StepKind, bound: &HashSet<Slot>) -> bool {
    let all = |operands: &[Operand]| operands.iter().all(|operand| is_bound(operand, bound));
    match kind {
        StepKind::Get { base: Base::Input | Base::Data, keys, .. } => all(keys),
        StepKind::Get { base: Base::Value(operand), keys, .. } => is_bound(operand, bound) && all(keys),
        StepKind::Match { value, pattern } => is_bound(value, bound) && pattern_is_bound(pattern, bound),
        StepKind::Test { value } => is_bound(value, bound),
        StepKind::Compare { left, right, .. } => is_bound(left, bound) && is_bound(right, bound),
        StepKind::Member { key, value, collection, result: None } => {
            key.iter().chain([value, collection]).all(|operand| is_bound(operand, bound))
        }
        _ => false,
    }
}

fn is_bound(operand: &Operand, bound: &HashSet<Slot>) -> bool {
    match operand {
        Operand::Const(_) => true,
        Operand::Slot(slot) => bound.contains(slot),
        Operand::Array(items) | Operand::Set(items) => items.iter().all(|item| is_bound(item, bound)),
        Operand::Object(members) => members.iter().all(|(key, value)| is_bound(key, bound) && is_bound(value, bound)),
    }
}

/// Whether what the pattern compares with is bound, by the pattern itself at the latest.
fn pattern_is_bound(pattern: &Pattern, bound: &HashSet<Slot>) -> bool {
    match pattern {
        Pattern::Any | Pattern::Bind(_) => true,
        Pattern::Equal(operand) => is_bound(operand, bound),
        Pattern::Array(_) | Pattern::Object(_) => {
            let mut within = bound.clone();
            pattern_binds(pattern, &mut within);
            parts_are_bound(pattern, &within)
        }
    }
}

fn parts_are_bound(pattern: &Pattern, bound: &HashSet<Slot>) -> bool {
    match pattern {
        Pattern::Any | Pattern::Bind(_) => true,
        Pattern::Equal(operand) => is_bound(operand, bound),
        Pattern::Array(parts) => parts.iter().all(|part| parts_are_bound(part, bound)),
        Pattern::Object(parts) => parts.iter().all(|(key, part)| is_bound(key, bound) && parts_are_bound(part, bound)),
    }
}

fn step_binds(kind: &StepKind, bound: &mut HashSet<Slot>) {
    match kind {
        StepKind::Get { out, .. } => {
            bound.insert(*out);
        }
        StepKind::Match { pattern, .. } => pattern_binds(pattern, bound),
        _ => {}
    }
}

fn pattern_binds(pattern: &Pattern, bound: &mut HashSet<Slot>) {
    match pattern {
        Pattern::Bind(slot) => {
            bound.insert(*slot);
        }
        Pattern::Array(parts) => parts.iter().for_each(|part| pattern_binds(part, bound)),
        Pattern::Object(parts) => parts.iter().for_each(|(_, part)| pattern_binds(part, bound)),
        Pattern::Any | Pattern::Equal(_) => {}
    }
}
