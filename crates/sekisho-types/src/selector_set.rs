//! A set of selectors, as entries, nodes and processes have them.

use std::fmt;

use crate::Selector;

/// Sorted selectors, each once. A set is small and seldom changes, so it is one block of memory of the exact size: a
/// server may hold millions of sets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SelectorSet(Box<[Selector]>);

impl SelectorSet {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Selector> {
        self.0.iter()
    }

    pub const fn len(&self) -> usize {
        self.0.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, selector: &Selector) -> bool {
        self.0.binary_search(selector).is_ok()
    }

    pub fn is_subset(&self, other: &Self) -> bool {
        self.len() <= other.len() && self.iter().all(|selector| other.contains(selector))
    }

    pub fn is_superset(&self, other: &Self) -> bool {
        other.is_subset(self)
    }

    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.intersection(other).next().is_none()
    }

    pub fn intersection<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Selector> {
        self.iter().filter(|selector| other.contains(selector))
    }

    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Selector> {
        self.iter().filter(|selector| !other.contains(selector))
    }

    /// Rebuilds the set, as do `remove` and `extend`: they are for sets that are put together once.
    pub fn insert(&mut self, selector: Selector) {
        self.extend([selector]);
    }

    /// Whether it was there.
    pub fn remove(&mut self, selector: &Selector) -> bool {
        let before = self.len();
        *self = std::mem::take(self).into_iter().filter(|other| other != selector).collect();
        self.len() < before
    }
}

impl fmt::Debug for SelectorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Selector::as_str)).finish()
    }
}

impl FromIterator<Selector> for SelectorSet {
    fn from_iter<I: IntoIterator<Item = Selector>>(selectors: I) -> Self {
        let mut selectors: Vec<Selector> = selectors.into_iter().collect();
        if !selectors.is_sorted_by(|a, b| a < b) {
            selectors.sort_unstable();
            selectors.dedup();
        }
        Self(selectors.into_boxed_slice())
    }
}

impl<const N: usize> From<[Selector; N]> for SelectorSet {
    fn from(selectors: [Selector; N]) -> Self {
        selectors.into_iter().collect()
    }
}

impl Extend<Selector> for SelectorSet {
    fn extend<I: IntoIterator<Item = Selector>>(&mut self, selectors: I) {
        *self = std::mem::take(self).into_iter().chain(selectors).collect();
    }
}

impl IntoIterator for SelectorSet {
    type Item = Selector;
    type IntoIter = std::vec::IntoIter<Selector>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl<'a> IntoIterator for &'a SelectorSet {
    type Item = &'a Selector;
    type IntoIter = std::slice::Iter<'a, Selector>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn set(numbers: &[u32]) -> (SelectorSet, BTreeSet<Selector>) {
        let one = |number: &u32| Selector::parse(&format!("unix:uid:{number}")).unwrap();
        (numbers.iter().map(one).collect(), numbers.iter().map(one).collect())
    }

    #[test]
    fn it_says_what_any_set_says() {
        let sets: Vec<_> = [&[][..], &[1], &[2, 1], &[1, 1, 3], &[3, 2, 1], &[4]].map(set).into();
        for (a, plain_a) in &sets {
            assert!(a.iter().eq(plain_a) && a.len() == plain_a.len() && a.is_empty() == plain_a.is_empty(), "{a:?}");
            for (b, plain_b) in &sets {
                assert_eq!((a == b, a.cmp(b)), (plain_a == plain_b, plain_a.cmp(plain_b)), "{a:?} {b:?}");
                assert_eq!(a.is_subset(b), plain_a.is_subset(plain_b), "{a:?} {b:?}");
                assert_eq!(a.is_superset(b), plain_a.is_superset(plain_b), "{a:?} {b:?}");
                assert_eq!(a.is_disjoint(b), plain_a.is_disjoint(plain_b), "{a:?} {b:?}");
                assert!(a.intersection(b).eq(plain_a.intersection(plain_b)), "{a:?} {b:?}");
                assert!(a.difference(b).eq(plain_a.difference(plain_b)), "{a:?} {b:?}");
                let (mut both, mut plain) = (a.clone(), plain_a.clone());
                both.extend(b.clone());
                plain.extend(plain_b.clone());
                assert!(both.iter().eq(&plain), "{a:?} {b:?}");
                for gone in plain_b {
                    assert_eq!(both.remove(gone), plain.remove(gone));
                    both.insert(gone.clone());
                    assert!(both.contains(gone) && both.remove(gone) && !both.remove(gone));
                }
                assert!(both.into_iter().eq(plain), "{a:?} {b:?}");
            }
        }
    }
}
