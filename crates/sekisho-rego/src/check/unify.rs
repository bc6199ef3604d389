//! Which variables the two sides of an equation bind.

use std::collections::BTreeMap;

use super::flat::{Base, Item, VarId, Vars};
use super::vars::{Skip, in_item};

/// The variables that have a value once `left = right` holds, given those in `safe`.
pub(super) fn outputs(safe: &Vars, left: &Item, right: &Item) -> Vars {
    let mut unifier = Unifier { safe, unified: Vars::new(), waits: BTreeMap::new(), waiting: BTreeMap::new() };
    unifier.unify(left, right);
    unifier.unified
}

struct Unifier<'a> {
    safe: &'a Vars,
    unified: Vars,
    /// The variables a variable waits for.
    waits: BTreeMap<VarId, Vars>,
    /// The variables that wait for a variable.
    waiting: BTreeMap<VarId, Vars>,
}

impl Unifier<'_> {
    fn is_safe(&self, id: VarId) -> bool {
        self.safe.contains(&id) || self.unified.contains(&id)
    }

    fn ready(&self, base: &Base) -> bool {
        match base {
            Base::Var(id) => self.safe.contains(id),
            Base::Data | Base::Input => true,
        }
    }

    fn unify(&mut self, left: &Item, right: &Item) {
        match (left, right) {
            (Item::Var(a), Item::Var(b)) => {
                if self.is_safe(*b) {
                    self.mark(*a);
                } else if self.is_safe(*a) {
                    self.mark(*b);
                } else {
                    self.wait(*a, *b);
                    self.wait(*b, *a);
                }
            }
            (Item::Var(id), other @ (Item::Array(_) | Item::Object(_)))
            | (other @ (Item::Array(_) | Item::Object(_)), Item::Var(id)) => self.with_collection(*id, other),
            (Item::Var(id), Item::Ref(base, _)) | (Item::Ref(base, _), Item::Var(id)) if self.ready(base) => {
                self.mark(*id);
            }
            (Item::Var(_), Item::Ref(..)) | (Item::Ref(..), Item::Var(_)) => {}
            (Item::Var(id), _) | (_, Item::Var(id)) => self.mark(*id),
            (Item::Ref(base, _), other @ (Item::Array(_) | Item::Object(_)))
            | (other @ (Item::Array(_) | Item::Object(_)), Item::Ref(base, _))
                if self.ready(base) =>
            {
                self.mark_all(other);
            }
            (Item::Comprehension(_), other @ (Item::Array(_) | Item::Object(_)))
            | (other @ (Item::Array(_) | Item::Object(_)), Item::Comprehension(_)) => self.mark_all(other),
            (Item::Array(a), Item::Array(b)) if a.len() == b.len() => {
                a.iter().zip(b).for_each(|(a, b)| self.unify(a, b));
            }
            (Item::Object(a), Item::Object(b)) if a.len() == b.len() => {
                let others: BTreeMap<String, &Item> =
                    b.iter().map(|(key, value)| (format!("{key:?}"), value)).collect();
                for (key, value) in a {
                    if let Some(other) = others.get(&format!("{key:?}")) {
                        self.unify(value, other);
                    }
                }
            }
            _ => {}
        }
    }

    fn pattern_vars(item: &Item) -> Vars {
        let mut found = Vars::new();
        in_item(item, Skip::PATTERN, &mut |id| {
            found.insert(id);
        });
        found
    }

    fn mark_all(&mut self, item: &Item) {
        for id in Self::pattern_vars(item) {
            self.mark(id);
        }
    }

    fn mark(&mut self, id: VarId) {
        let mut ready = vec![id];
        while let Some(id) = ready.pop() {
            if !self.unified.insert(id) {
                continue;
            }
            ready.extend(self.waits.remove(&id).into_iter().flatten());
            for waiting in self.waiting.remove(&id).into_iter().flatten() {
                if let Some(on) = self.waits.get_mut(&waiting)
                    && on.remove(&id)
                    && on.is_empty()
                {
                    self.waits.remove(&waiting);
                    ready.push(waiting);
                }
            }
        }
    }

    fn wait(&mut self, id: VarId, other: VarId) {
        self.waits.entry(id).or_default().insert(other);
        self.waiting.entry(other).or_default().insert(id);
    }

    fn with_collection(&mut self, id: VarId, item: &Item) {
        if self.is_safe(id) {
            self.mark_all(item);
            return;
        }
        let missing: Vars = Self::pattern_vars(item).into_iter().filter(|id| !self.is_safe(*id)).collect();
        if missing.is_empty() {
            self.mark(id);
        } else {
            missing.into_iter().for_each(|other| self.wait(id, other));
        }
    }
}
