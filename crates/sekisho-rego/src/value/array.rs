//! Arrays: shared, and copied only when a shared one is changed.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use super::shared::{Item, Measure, Shared};

/// An ordered list; reads as a slice.
#[derive(Clone)]
pub struct List<T>(Shared<T>);

impl<T: Item> List<T> {
    /// Adds an item at the end; copies the items if others share them.
    pub fn push(&mut self, item: T) {
        self.0.change(item.measure(), |items| items.push(item));
    }

    /// Its items, copied only if others share them.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0.into_items()
    }

    pub(super) fn measure(&self) -> Measure {
        self.0.measure()
    }
}

impl<T: Item> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.items()
    }
}

impl<T: Item> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> List<T> {
        List(Shared::new(items))
    }
}

impl<T: Item> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> List<T> {
        List(Shared::new(items.into_iter().collect()))
    }
}

impl<T: Item + PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &List<T>) -> bool {
        self.0.same(&other.0) || self.0.items() == other.0.items()
    }
}

impl<T: Item + Eq> Eq for List<T> {}

impl<T: Item> Hash for List<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T: Item + Ord> PartialOrd for List<T> {
    fn partial_cmp(&self, other: &List<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Item + Ord> Ord for List<T> {
    fn cmp(&self, other: &List<T>) -> Ordering {
        if self.0.same(&other.0) { Ordering::Equal } else { self.0.items().cmp(other.0.items()) }
    }
}

impl<T: Item> Default for List<T> {
    fn default() -> List<T> {
        List(Shared::default())
    }
}
