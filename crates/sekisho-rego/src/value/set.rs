//! Sets: distinct values in their order.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use super::shared::{Item, Measure, Shared};

/// Distinct values in ascending order; reads as a sorted slice.
#[derive(Clone)]
pub struct Distinct<T>(Shared<T>);

impl<T: Item + Ord> Distinct<T> {
    /// The distinct ones of these values.
    pub fn from_vec(mut items: Vec<T>) -> Distinct<T> {
        items.sort_unstable();
        items.dedup();
        Distinct(Shared::new(items))
    }

    /// The elements in their order.
    pub fn as_slice(&self) -> &[T] {
        self.0.items()
    }

    /// Is the value one of the elements?
    pub fn contains(&self, item: &T) -> bool {
        self.as_slice().binary_search(item).is_ok()
    }

    /// The element equal to this value.
    pub fn get(&self, item: &T) -> Option<&T> {
        self.as_slice().binary_search(item).ok().and_then(|at| self.as_slice().get(at))
    }

    /// Adds one element; copies if others share the set. For many elements use [`Distinct::from_vec`].
    pub fn insert(&mut self, item: T) -> bool {
        match self.as_slice().binary_search(&item) {
            Ok(_) => false,
            Err(at) => {
                self.0.change(item.measure(), |items| items.insert(at, item));
                true
            }
        }
    }

    /// Elements of either set.
    pub fn union(&self, other: &Distinct<T>) -> Distinct<T> {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        let mut merged = Vec::with_capacity(self.len() + other.len());
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let order = a.cmp(b);
            if order.is_ge() {
                merged.extend(right.next().cloned().filter(|_| order.is_gt()));
            }
            if order.is_le() {
                merged.extend(left.next().cloned());
            }
        }
        merged.extend(left.cloned());
        merged.extend(right.cloned());
        Distinct(Shared::new(merged))
    }

    /// Elements of both sets.
    pub fn intersection(&self, other: &Distinct<T>) -> Distinct<T> {
        let (small, large) = if self.len() <= other.len() { (self, other) } else { (other, self) };
        Distinct(Shared::new(small.iter().filter(|item| large.contains(item)).cloned().collect()))
    }

    /// Elements of this set which the other has not.
    pub fn difference(&self, other: &Distinct<T>) -> Distinct<T> {
        Distinct(Shared::new(self.iter().filter(|item| !other.contains(item)).cloned().collect()))
    }

    /// Its elements in order, copied only if others share them.
    pub fn into_vec(self) -> Vec<T> {
        self.0.into_items()
    }

    pub(super) fn measure(&self) -> Measure {
        self.0.measure()
    }
}

impl<T: Item> Deref for Distinct<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.items()
    }
}

impl<T: Item + Ord> FromIterator<T> for Distinct<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Distinct<T> {
        Distinct::from_vec(items.into_iter().collect())
    }
}

impl<T: Item + Ord> PartialEq for Distinct<T> {
    fn eq(&self, other: &Distinct<T>) -> bool {
        self.0.same(&other.0) || self.0.items() == other.0.items()
    }
}

impl<T: Item + Ord> Eq for Distinct<T> {}

impl<T: Item + Ord> Hash for Distinct<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T: Item + Ord> PartialOrd for Distinct<T> {
    fn partial_cmp(&self, other: &Distinct<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Item + Ord> Ord for Distinct<T> {
    fn cmp(&self, other: &Distinct<T>) -> Ordering {
        if self.0.same(&other.0) { Ordering::Equal } else { self.0.items().cmp(other.0.items()) }
    }
}

impl<T: Item> Default for Distinct<T> {
    fn default() -> Distinct<T> {
        Distinct(Shared::default())
    }
}
