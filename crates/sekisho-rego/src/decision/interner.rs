//! Equal things have one number.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use crate::value::hash::Fast;

/// Numbers different things in the order in which they come.
#[derive(Debug)]
pub struct Interner<T> {
    items: Vec<T>,
    /// The last item with a hash, and of each item the one before with the same.
    last: HashMap<u64, u32, Fast>,
    before: Vec<Option<u32>>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Interner { items: Vec::new(), last: HashMap::default(), before: Vec::new() }
    }
}

impl<T: Hash + Eq> Interner<T> {
    /// The number of an item, which is kept if it is new.
    pub fn number(&mut self, item: T) -> u32 {
        let hash = Fast::default().hash_one(&item);
        let newest = self.last.get(&hash).copied();
        let mut at = newest;
        while let Some(number) = at {
            if self.items.get(number as usize).is_some_and(|known| *known == item) {
                return number;
            }
            at = self.before.get(number as usize).copied().flatten();
        }
        let number = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        self.items.push(item);
        self.before.push(newest);
        self.last.insert(hash, number);
        number
    }

    /// How many different items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The item with a number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number as usize)
    }

    /// All items, each at its number.
    #[must_use]
    pub fn into_items(self) -> Vec<T> {
        self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of them have the same hash.
    #[derive(Debug, PartialEq, Eq)]
    struct Alike(u32);

    impl Hash for Alike {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            state.write_u32(1);
        }
    }

    #[test]
    fn equal_items_have_one_number() {
        let mut interner = Interner::default();
        let numbers: Vec<u32> = [7, 8, 7, 9, 8].map(|item| interner.number(Alike(item))).into();
        assert_eq!(numbers, [0, 1, 0, 2, 1]);
        assert_eq!(interner.into_items(), [Alike(7), Alike(8), Alike(9)]);
    }
}
