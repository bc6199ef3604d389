//! Whether every variable gets a value before it is needed, and in which order.
//!
//! A step is *ready* when all variables it needs are bound; steps are taken in the order of the text as soon as they
//! are ready. What is left is unsafe.

use std::collections::{BTreeMap, BTreeSet};

use super::flat::{Base, Callee, Item, Step, StepKind, VarId, Vars};
use super::functions::Functions;
use super::unify;
use super::vars::{self, Closure, Skip};

/// The variables that are not bound, by the span of the step that needs them.
pub(super) type Unsafe<'a> = Vec<(&'a Step, Vars)>;

/// Checks a body. `bound` are the variables with a value from outside. Gives the order of the steps and what is unsafe.
pub(super) fn order<'a>(functions: &Functions<'_>, bound: &Vars, body: &'a [Step]) -> (Vec<usize>, Unsafe<'a>) {
    let checker = Checker { functions };
    checker.order(bound, body)
}

/// Whether a term has references or comprehensions in it.
pub(super) fn requires_evaluation(item: &Item) -> bool {
    match item {
        Item::Ref(..) | Item::Comprehension(_) => true,
        Item::Array(items) | Item::Set(items) => items.iter().any(requires_evaluation),
        Item::Object(pairs) => pairs.iter().any(|(key, value)| requires_evaluation(key) || requires_evaluation(value)),
        _ => false,
    }
}

pub(super) struct Checker<'f, 'm> {
    pub(super) functions: &'f Functions<'m>,
}

impl Checker<'_, '_> {
    pub(super) fn order<'a>(&self, bound: &Vars, body: &'a [Step]) -> (Vec<usize>, Unsafe<'a>) {
        let needs: Vec<Vars> = body.iter().map(|step| self.visible(step)).collect();
        let all: Vars = needs.iter().flatten().copied().collect();
        let is_inner = |id: &VarId| all.contains(id) && !bound.contains(id);
        let closed: Vec<Vars> =
            body.iter().map(|step| self.closed_over(step).into_iter().filter(is_inner).collect()).collect();
        let mut users: BTreeMap<VarId, Vec<usize>> = BTreeMap::new();
        for (index, (needs, closed)) in needs.iter().zip(&closed).enumerate() {
            for id in needs.union(closed) {
                users.entry(*id).or_default().push(index);
            }
        }
        let mut safe: Vars = all.iter().filter(|id| bound.contains(id)).copied().collect();
        let mut left: Vec<Option<Vars>> =
            needs.iter().map(|vars| Some(vars.iter().filter(|id| !safe.contains(id)).copied().collect())).collect();
        let mut taken: Vec<usize> = Vec::with_capacity(body.len());
        // The steps of this pass and of the next one; a step is looked at again when one of its variables is bound.
        let (mut pass, mut later): (BTreeSet<usize>, BTreeSet<usize>) = ((0..body.len()).collect(), BTreeSet::new());
        while !pass.is_empty() {
            while let Some(index) = pass.pop_first() {
                let (Some(step), Some(needs), Some(closed)) = (body.get(index), needs.get(index), closed.get(index))
                else {
                    continue;
                };
                let Some(missing) = left.get_mut(index).and_then(Option::as_mut) else { continue };
                let own: Vars = needs.union(closed).filter(|id| safe.contains(id)).copied().collect();
                let outputs = self.outputs(step, &own);
                let free: Vars = closed.difference(&own).copied().collect();
                if !free.is_empty() && free == outputs {
                    continue;
                }
                if !free.is_empty() {
                    *missing = free;
                }
                missing.retain(|id| !outputs.contains(id) && !own.contains(id));
                if missing.is_empty() {
                    if let Some(slot) = left.get_mut(index) {
                        *slot = None;
                    }
                    taken.push(index);
                    for id in outputs {
                        if safe.insert(id) {
                            for user in users.get(&id).into_iter().flatten() {
                                if *user > index {
                                    pass.insert(*user)
                                } else {
                                    later.insert(*user)
                                };
                            }
                        }
                    }
                }
            }
            std::mem::swap(&mut pass, &mut later);
        }
        let mut found: Unsafe<'a> = Vec::new();
        for (step, missing) in body.iter().zip(left) {
            found.extend(missing.map(|missing| (step, missing)));
        }
        self.nested(bound, body, &taken, &mut found);
        (taken, found)
    }

    /// Checks the closures of the steps in their order.
    fn nested<'a>(&self, bound: &Vars, body: &'a [Step], taken: &[usize], found: &mut Unsafe<'a>) {
        let mut known = bound.clone();
        for index in taken {
            let Some(step) = body.get(*index) else { continue };
            vars::closures(step, &mut |closure| self.closure(closure, step, &known, found));
            known.extend(self.visible(step));
        }
    }

    fn closure<'a>(&self, closure: Closure<'a>, step: &'a Step, known: &Vars, found: &mut Unsafe<'a>) {
        // Only what the closure names matters.
        let known = &vars::of_closure(closure).into_iter().filter(|id| known.contains(id)).collect::<Vars>();
        match closure {
            Closure::Comprehension(comprehension) => {
                let mut visible = known.clone();
                for step in &comprehension.body {
                    visible.extend(self.visible(step));
                }
                let mut free = Vars::new();
                for item in &comprehension.terms {
                    free.extend(vars::of_item(item, Skip::CLOSURES).difference(&visible).copied());
                }
                if !free.is_empty() {
                    found.push((step, free));
                }
                found.extend(self.order(known, &comprehension.body).1);
                for item in &comprehension.terms {
                    vars::item_closures(item, &mut |inner| self.closure(inner, step, &visible, found));
                }
            }
            Closure::Step(inner) => match &inner.kind {
                StepKind::Every { key, value, body, .. } => {
                    let mut known = known.clone();
                    known.extend(key.iter().chain([value]));
                    found.extend(self.order(&known, body).1);
                }
                StepKind::Not { body, .. } => found.extend(self.order(known, body).1),
                StepKind::Logical { left, right, .. } => {
                    found.extend(self.order(known, left).1);
                    found.extend(self.order(known, right).1);
                }
                _ => {}
            },
        }
    }

    /// The variables a step shows to the body it stands in.
    pub(super) fn visible(&self, step: &Step) -> Vars {
        let mut found = vars::of_step(step, Skip::CLOSURES);
        match &step.kind {
            StepKind::Not { body, braces: false } => found.extend(self.taken_from_outside(body)),
            StepKind::Logical { left, left_braces, right, right_braces } => {
                if !left_braces {
                    found.extend(self.taken_from_outside(left));
                }
                if !right_braces {
                    found.extend(self.taken_from_outside(right));
                }
            }
            _ => {}
        }
        found
    }

    /// The variables that an operand without braces takes from the body around it.
    fn taken_from_outside(&self, body: &[Step]) -> Vars {
        let mut places: BTreeMap<VarId, usize> = BTreeMap::new();
        for step in body {
            for id in vars::of_step(step, Skip::CLOSURES) {
                *places.entry(id).or_default() += 1;
            }
        }
        if body.len() == 1 {
            return places.into_keys().collect();
        }
        let mut safe: Vars = places.keys().copied().collect();
        for step in body {
            if let StepKind::Equal { left, right, .. } = &step.kind {
                for side in [left, right] {
                    if let Item::Var(id) = side {
                        safe.remove(id);
                    }
                }
            }
        }
        let mut bound = Vars::new();
        loop {
            let mut changed = false;
            for step in body {
                if let StepKind::Equal { left, right, assigned } = &step.kind {
                    for id in self.equal_outputs(left, right, *assigned, &safe) {
                        changed |= bound.insert(id);
                        safe.insert(id);
                    }
                }
            }
            if !changed {
                break;
            }
        }
        for step in body {
            if let StepKind::Call { callee, arguments } = &step.kind
                && let Some(arity) = self.functions.arity(callee)
            {
                for item in arguments.iter().skip(arity) {
                    bound.extend(vars::of_item(item, Skip { sets: true, ..Skip::PATTERN }));
                }
            }
        }
        places.into_iter().filter(|(id, count)| !bound.contains(id) || *count == 1).map(|(id, _)| id).collect()
    }

    /// The variables in the closures of a step.
    fn closed_over(&self, step: &Step) -> Vars {
        let mut found = Vars::new();
        vars::closures(step, &mut |closure| {
            let mut add = |id| {
                found.insert(id);
            };
            match closure {
                Closure::Step(Step { kind: StepKind::Every { body, .. }, .. }) => {
                    vars::in_body(body, Skip::default(), &mut add);
                }
                closure => vars::of_closure(closure).into_iter().for_each(add),
            }
        });
        found
    }

    /// The variables a step binds, given those that are bound.
    pub(super) fn outputs(&self, step: &Step, safe: &Vars) -> Vars {
        if step.negated {
            return Vars::new();
        }
        for with in &step.with {
            let mut ready = true;
            vars::in_modifier(with, Skip::CLOSURES, &mut |id| ready &= safe.contains(&id));
            if !ready {
                return Vars::new();
            }
        }
        let mut found = Vars::new();
        match &step.kind {
            StepKind::Term(item) => reference_outputs(item, safe, &mut found),
            StepKind::Equal { left, right, assigned } => return self.equal_outputs(left, right, *assigned, safe),
            StepKind::Call { callee, arguments } => return self.call_outputs(callee, arguments, safe),
            StepKind::Every { domain, .. } => reference_outputs(domain, safe, &mut found),
            StepKind::Not { .. } | StepKind::Logical { .. } => {}
        }
        found
    }

    fn equal_outputs(&self, left: &Item, right: &Item, assigned: bool, safe: &Vars) -> Vars {
        let mut found = Vars::new();
        reference_outputs(left, safe, &mut found);
        reference_outputs(right, safe, &mut found);
        let mut basis: Vars = found.union(safe).copied().collect();
        if assigned {
            vars::in_item(left, Skip::default(), &mut |id| {
                basis.remove(&id);
            });
        }
        let unified = unify::outputs(&basis, left, right);
        basis.extend(unified);
        basis.difference(safe).copied().collect()
    }

    fn call_outputs(&self, callee: &Callee, arguments: &[Item], safe: &Vars) -> Vars {
        let Some(arity) = self.functions.arity(callee) else { return Vars::new() };
        let mut found = Vars::new();
        arguments.iter().for_each(|item| reference_outputs(item, safe, &mut found));
        if arity >= arguments.len() {
            return found;
        }
        let skip = Skip { sets: true, ..Skip::PATTERN };
        let mut ready = true;
        for item in arguments.iter().take(arity) {
            vars::in_item(item, skip, &mut |id| ready &= safe.contains(&id) || found.contains(&id));
        }
        if !ready {
            return Vars::new();
        }
        for item in arguments.iter().skip(arity) {
            vars::in_item(item, skip, &mut |id| {
                found.insert(id);
            });
        }
        found
    }
}

/// The variables in the paths of references whose start is bound.
fn reference_outputs(item: &Item, safe: &Vars, found: &mut Vars) {
    match item {
        Item::Ref(base, path) => {
            if let Base::Var(id) = base
                && !safe.contains(id)
            {
                return;
            }
            for item in path {
                vars::in_item(item, Skip { ref_heads: true, ..Skip::default() }, &mut |id| {
                    found.insert(id);
                });
                reference_outputs(item, safe, found);
            }
        }
        Item::Array(items) | Item::Set(items) => {
            items.iter().for_each(|item| reference_outputs(item, safe, found));
        }
        Item::Object(pairs) => {
            for (key, value) in pairs {
                reference_outputs(key, safe, found);
                reference_outputs(value, safe, found);
            }
        }
        _ => {}
    }
}
