//! Variables of which a body says that they are one of a few constants: `x in ["a", "b"]`.

use std::collections::BTreeMap;

use super::flat::{Base, Item, Step, StepKind, VarId};
use super::tree::{Key, is_constant};

/// The greatest number of paths one path is expanded to.
const MOST: usize = 64;

/// What is known of the variables of a body.
#[derive(Default)]
pub(super) struct Constants {
    values: BTreeMap<VarId, Vec<Item>>,
}

impl Constants {
    /// Adds what a step says.
    pub(super) fn learn(&mut self, step: &Step) {
        if step.negated || !step.with.is_empty() {
            return;
        }
        if let StepKind::Equal { left, right, .. } = &step.kind {
            self.equal(left, right);
            self.equal(right, left);
        }
    }

    fn equal(&mut self, left: &Item, right: &Item) {
        if let Item::Var(id) = left
            && !self.values.contains_key(id)
            && let Some(values) = self.values_of(right)
        {
            self.values.insert(*id, values);
        }
    }

    fn values_of(&self, item: &Item) -> Option<Vec<Item>> {
        match item {
            Item::Var(id) => self.values.get(id).cloned(),
            Item::Ref(Base::Var(id), path) => {
                let mut values = self.values.get(id)?.clone();
                for part in path {
                    let mut next = Vec::new();
                    for value in &values {
                        members(value, part, &mut next)?;
                    }
                    if next.len() > MOST {
                        return None;
                    }
                    values = next;
                }
                Some(values)
            }
            item if is_constant(item) => Some(vec![item.clone()]),
            _ => None,
        }
    }

    /// The paths that a path can stand for. What is not known stays a variable.
    pub(super) fn expand(&self, path: &[Item]) -> Vec<Vec<Item>> {
        let mut paths = vec![path.to_vec()];
        for (at, item) in path.iter().enumerate() {
            if is_constant(item) {
                continue;
            }
            let Some(values) = self.values_of(item).filter(|values| !values.is_empty()) else { continue };
            if paths.len() * values.len() > MOST {
                continue;
            }
            let mut next = Vec::with_capacity(paths.len() * values.len());
            for path in &paths {
                for value in &values {
                    let mut path = path.clone();
                    if let Some(slot) = path.get_mut(at) {
                        *slot = value.clone();
                    }
                    next.push(path);
                }
            }
            paths = next;
        }
        paths
    }
}

/// The members of a constant collection that a part of a path selects; none if the value is not a collection.
fn members(value: &Item, part: &Item, out: &mut Vec<Item>) -> Option<()> {
    let key = Key::of(part);
    match value {
        Item::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                if key.as_ref().is_none_or(|key| *key == Key::Number(at.to_string())) {
                    out.push(item.clone());
                }
            }
        }
        Item::Set(items) => {
            out.extend(items.iter().filter(|item| key.is_none() || key == Key::of(item)).cloned());
        }
        Item::Object(pairs) => {
            for (name, value) in pairs {
                if key.is_none() || key == Key::of(name) {
                    out.push(value.clone());
                }
            }
        }
        _ if key.is_some() => {}
        _ => return None,
    }
    Some(())
}
