//! The variables visible at a place.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::flat::VarId;

/// How a name came into a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occurrence {
    Argument,
    Seen,
    Assigned,
    Declared,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: VarId,
    pub(super) occurrence: Occurrence,
    /// How often the name is used, its declaration counted.
    pub(super) count: u32,
}

/// One scope: a rule, or a body nested in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) entries: BTreeMap<Arc<str>, Entry>,
}

/// The scopes from the rule to the current body.
#[derive(Clone, Debug)]
pub(super) struct Scopes {
    stack: Vec<Scope>,
}

impl Scopes {
    pub(super) fn new() -> Self {
        Self { stack: vec![Scope::default()] }
    }

    pub(super) fn push(&mut self) {
        self.stack.push(Scope::default());
    }

    pub(super) fn pop(&mut self) -> Scope {
        self.stack.pop().unwrap_or_default()
    }

    /// The variable of a name that any scope has.
    pub(super) fn find(&self, name: &str) -> Option<Entry> {
        self.stack.iter().rev().find_map(|scope| scope.entries.get(name).copied())
    }

    /// Counts one more use of a name.
    pub(super) fn seen(&mut self, name: &str) {
        if let Some(entry) = self.stack.iter_mut().rev().find_map(|scope| scope.entries.get_mut(name)) {
            entry.count = entry.count.saturating_add(1);
        }
    }

    /// How the current scope came to a name.
    pub(super) fn occurrence(&self, name: &str) -> Option<Occurrence> {
        self.stack.last().and_then(|scope| scope.entries.get(name)).map(|entry| entry.occurrence)
    }

    pub(super) fn insert(&mut self, name: &Arc<str>, id: VarId, occurrence: Occurrence) {
        if let Some(scope) = self.stack.last_mut() {
            scope.entries.insert(name.clone(), Entry { id, occurrence, count: 1 });
        }
    }
}

impl Scopes {
    /// Puts back a scope taken by [`Self::pop`].
    pub(super) fn restore(&mut self, scope: Scope) {
        self.stack.push(scope);
    }
}
