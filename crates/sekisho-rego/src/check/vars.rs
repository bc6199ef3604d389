//! The variables in items and steps.

use super::flat::{Base, Comprehension, Item, Modifier, Step, StepKind, VarId, Vars};

/// What to leave out.
#[derive(Clone, Copy, Default)]
pub(super) struct Skip {
    /// Bodies of comprehensions, `every`, `not`, `and` and `or`.
    pub(super) closures: bool,
    /// What a reference starts at.
    pub(super) ref_heads: bool,
    pub(super) object_keys: bool,
    pub(super) sets: bool,
}

impl Skip {
    pub(super) const CLOSURES: Skip = Skip { closures: true, ref_heads: false, object_keys: false, sets: false };
    /// What a pattern binds.
    pub(super) const PATTERN: Skip = Skip { closures: true, ref_heads: true, object_keys: true, sets: false };
}

pub(super) fn in_item(item: &Item, skip: Skip, found: &mut dyn FnMut(VarId)) {
    match item {
        Item::Null | Item::Bool(_) | Item::Number(_) | Item::String(_) | Item::Function(_) => {}
        Item::Var(id) => found(*id),
        Item::Ref(base, path) => {
            if let Base::Var(id) = base
                && !skip.ref_heads
            {
                found(*id);
            }
            path.iter().for_each(|item| in_item(item, skip, found));
        }
        Item::Array(items) => items.iter().for_each(|item| in_item(item, skip, found)),
        Item::Set(items) if !skip.sets => items.iter().for_each(|item| in_item(item, skip, found)),
        Item::Set(_) => {}
        Item::Object(pairs) => {
            for (key, value) in pairs {
                if !skip.object_keys {
                    in_item(key, skip, found);
                }
                in_item(value, skip, found);
            }
        }
        Item::Comprehension(comprehension) => {
            if !skip.closures {
                in_comprehension(comprehension, skip, found);
            }
        }
    }
}

fn in_comprehension(comprehension: &Comprehension, skip: Skip, found: &mut dyn FnMut(VarId)) {
    comprehension.terms.iter().for_each(|item| in_item(item, skip, found));
    in_body(&comprehension.body, skip, found);
}

pub(super) fn in_body(body: &[Step], skip: Skip, found: &mut dyn FnMut(VarId)) {
    body.iter().for_each(|step| in_step(step, skip, found));
}

pub(super) fn in_step(step: &Step, skip: Skip, found: &mut dyn FnMut(VarId)) {
    match &step.kind {
        StepKind::Term(item) => in_item(item, skip, found),
        StepKind::Equal { left, right, .. } => {
            in_item(left, skip, found);
            in_item(right, skip, found);
        }
        StepKind::Call { arguments, .. } => arguments.iter().for_each(|item| in_item(item, skip, found)),
        StepKind::Every { key, value, domain, body } => {
            in_item(domain, skip, found);
            if !skip.closures {
                key.iter().for_each(|id| found(*id));
                found(*value);
                in_body(body, skip, found);
            }
        }
        StepKind::Not { body, .. } => {
            if !skip.closures {
                in_body(body, skip, found);
            }
        }
        StepKind::Logical { left, right, .. } => {
            if !skip.closures {
                in_body(left, skip, found);
                in_body(right, skip, found);
            }
        }
    }
    step.with.iter().for_each(|with| in_modifier(with, skip, found));
}

pub(super) fn in_modifier(with: &Modifier, skip: Skip, found: &mut dyn FnMut(VarId)) {
    let heads = Skip { ref_heads: true, ..skip };
    in_item(&with.target, heads, found);
    match &with.value {
        Item::Ref(_, path) => path.iter().for_each(|item| in_item(item, skip, found)),
        value => in_item(value, skip, found),
    }
}

/// The variables of an item as a set.
pub(super) fn of_item(item: &Item, skip: Skip) -> Vars {
    let mut vars = Vars::new();
    in_item(item, skip, &mut |id| {
        vars.insert(id);
    });
    vars
}

/// The variables of a step as a set.
pub(super) fn of_step(step: &Step, skip: Skip) -> Vars {
    let mut vars = Vars::new();
    in_step(step, skip, &mut |id| {
        vars.insert(id);
    });
    vars
}

/// The closures directly in a step: those in another closure are left out.
pub(super) fn closures<'a>(step: &'a Step, found: &mut dyn FnMut(Closure<'a>)) {
    match &step.kind {
        StepKind::Term(item) => item_closures(item, found),
        StepKind::Equal { left, right, .. } => {
            item_closures(left, found);
            item_closures(right, found);
        }
        StepKind::Call { arguments, .. } => arguments.iter().for_each(|item| item_closures(item, found)),
        StepKind::Every { .. } | StepKind::Not { .. } | StepKind::Logical { .. } => found(Closure::Step(step)),
    }
    step.with.iter().for_each(|with| item_closures(&with.value, found));
}

/// The variables in a closure.
pub(super) fn of_closure(closure: Closure<'_>) -> Vars {
    let mut found = Vars::new();
    let mut add = |id| {
        found.insert(id);
    };
    match closure {
        Closure::Comprehension(comprehension) => in_comprehension(comprehension, Skip::default(), &mut add),
        Closure::Step(step) => match &step.kind {
            StepKind::Every { key, value, body, .. } => {
                key.iter().chain([value]).for_each(|id| add(*id));
                in_body(body, Skip::default(), &mut add);
            }
            StepKind::Not { body, .. } => in_body(body, Skip::default(), &mut add),
            StepKind::Logical { left, right, .. } => {
                in_body(left, Skip::default(), &mut add);
                in_body(right, Skip::default(), &mut add);
            }
            _ => {}
        },
    }
    found
}

/// A closure.
#[derive(Clone, Copy)]
pub(super) enum Closure<'a> {
    Comprehension(&'a Comprehension),
    /// `every`, `not`, `and` or `or`.
    Step(&'a Step),
}

pub(super) fn item_closures<'a>(item: &'a Item, found: &mut dyn FnMut(Closure<'a>)) {
    match item {
        Item::Ref(_, items) | Item::Array(items) | Item::Set(items) => {
            items.iter().for_each(|item| item_closures(item, found));
        }
        Item::Object(pairs) => {
            for (key, value) in pairs {
                item_closures(key, found);
                item_closures(value, found);
            }
        }
        Item::Comprehension(comprehension) => found(Closure::Comprehension(comprehension)),
        _ => {}
    }
}
