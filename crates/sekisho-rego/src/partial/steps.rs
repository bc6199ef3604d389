//! What a step reads, writes and holds.

use crate::program::{Base, Block, CollectKind, Key, Mock, Operand, Pattern, Slot, Step, StepKind};

/// The blocks within a step.
pub(super) fn blocks(step: &Step) -> Vec<&Block> {
    match &step.kind {
        StepKind::Not { block } | StepKind::With { block, .. } => vec![block],
        StepKind::And { left, right } | StepKind::Or { left, right } => vec![left, right],
        StepKind::Every(every) => vec![&every.block],
        StepKind::Collect(collect) => vec![&collect.block],
        _ => Vec::new(),
    }
}

/// Calls `visit` for the step and each step within it.
pub(super) fn each<'s>(step: &'s Step, visit: &mut dyn FnMut(&'s Step)) {
    visit(step);
    for block in blocks(step) {
        block.steps.iter().for_each(|inner| each(inner, visit));
    }
}

/// Calls `visit` for each slot that the step or a step within it names.
pub(super) fn slots(step: &Step, visit: &mut dyn FnMut(Slot)) {
    each(step, &mut |step| {
        operands(step, &mut |operand| operand_slots(operand, visit));
        patterns(step, &mut |pattern| pattern_slots(pattern, visit));
        outs(step, visit);
    });
}

/// The operands of the step itself, not those of patterns.
pub(super) fn operands<'s>(step: &'s Step, visit: &mut dyn FnMut(&'s Operand)) {
    match &step.kind {
        StepKind::Get { base, keys, .. } => {
            if let Base::Value(operand) = base {
                visit(operand);
            }
            keys.iter().for_each(visit);
        }
        StepKind::Each { collection, .. } => visit(collection),
        StepKind::Tree { path, .. } => path.iter().for_each(|key| {
            if let Key::Bound(operand) = key {
                visit(operand);
            }
        }),
        StepKind::Match { value, .. } | StepKind::Test { value } | StepKind::Traverse { value, .. } => visit(value),
        StepKind::Compare { left, right, .. } => {
            visit(left);
            visit(right);
        }
        StepKind::Call { arguments, .. } => arguments.iter().for_each(visit),
        StepKind::Member { key, value, collection, .. } => key.iter().chain([value, collection]).for_each(visit),
        StepKind::Every(every) => visit(&every.domain),
        StepKind::Collect(collect) => {
            if let CollectKind::Object { key } = &collect.kind {
                visit(key);
            }
            visit(&collect.value);
        }
        StepKind::With { mods, .. } => mods.iter().for_each(|modifier| {
            if let Mock::Value(operand) = &modifier.value {
                visit(operand);
            }
        }),
        StepKind::Rule { .. }
        | StepKind::Extent { .. }
        | StepKind::Not { .. }
        | StepKind::And { .. }
        | StepKind::Or { .. }
        | StepKind::Fail => {}
    }
}

/// The patterns of the step itself.
pub(super) fn patterns<'s>(step: &'s Step, visit: &mut dyn FnMut(&'s Pattern)) {
    match &step.kind {
        StepKind::Each { key, value, .. } => {
            visit(key);
            visit(value);
        }
        StepKind::Tree { path, .. } => path.iter().for_each(|key| {
            if let Key::Free(pattern) = key {
                visit(pattern);
            }
        }),
        StepKind::Match { pattern, .. } | StepKind::Traverse { result: pattern, .. } => visit(pattern),
        StepKind::Call { result: Some(pattern), .. } | StepKind::Member { result: Some(pattern), .. } => visit(pattern),
        StepKind::Every(every) => {
            visit(&every.key);
            visit(&every.value);
        }
        _ => {}
    }
}

/// The slots that the step itself writes, but those of patterns.
fn outs(step: &Step, visit: &mut dyn FnMut(Slot)) {
    match &step.kind {
        StepKind::Get { out, .. } | StepKind::Rule { out, .. } | StepKind::Extent { out, .. } => visit(*out),
        StepKind::Tree { out, outs, .. } => outs.iter().chain([out]).for_each(|slot| visit(*slot)),
        StepKind::Collect(collect) => visit(collect.out),
        StepKind::With { outs, .. } => outs.iter().for_each(|slot| visit(*slot)),
        _ => {}
    }
}

/// The slots that hold a value behind the step because of it.
pub(super) fn bound_by(step: &Step) -> Vec<Slot> {
    let mut found = Vec::new();
    outs(step, &mut |slot| found.push(slot));
    if !matches!(step.kind, StepKind::Every(_)) {
        patterns(step, &mut |pattern| binds(pattern, &mut found));
    }
    found
}

fn binds(pattern: &Pattern, found: &mut Vec<Slot>) {
    match pattern {
        Pattern::Bind(slot) => found.push(*slot),
        Pattern::Array(parts) => parts.iter().for_each(|part| binds(part, found)),
        Pattern::Object(parts) => parts.iter().for_each(|(_, part)| binds(part, found)),
        Pattern::Any | Pattern::Equal(_) => {}
    }
}

pub(super) fn operand_slots(operand: &Operand, visit: &mut dyn FnMut(Slot)) {
    match operand {
        Operand::Const(_) => {}
        Operand::Slot(slot) => visit(*slot),
        Operand::Array(items) | Operand::Set(items) => items.iter().for_each(|item| operand_slots(item, visit)),
        Operand::Object(members) => members.iter().for_each(|(key, value)| {
            operand_slots(key, visit);
            operand_slots(value, visit);
        }),
    }
}

fn pattern_slots(pattern: &Pattern, visit: &mut dyn FnMut(Slot)) {
    match pattern {
        Pattern::Any => {}
        Pattern::Bind(slot) => visit(*slot),
        Pattern::Equal(operand) => operand_slots(operand, visit),
        Pattern::Array(parts) => parts.iter().for_each(|part| pattern_slots(part, visit)),
        Pattern::Object(parts) => parts.iter().for_each(|(key, part)| {
            operand_slots(key, visit);
            pattern_slots(part, visit);
        }),
    }
}

/// Whether the steps can have more than one solution.
pub(super) fn is_multiple(steps: &[Step]) -> bool {
    steps.iter().any(|step| match &step.kind {
        StepKind::Each { key, .. } => !matches!(key, Pattern::Equal(_)),
        StepKind::Tree { path, .. } => path.iter().any(|key| matches!(key, Key::Free(_))),
        StepKind::Traverse { .. } => true,
        StepKind::With { block, .. } => is_multiple(&block.steps),
        _ => false,
    })
}
