//! What arrays, sets and objects share: items behind one pointer, with their size, depth and hash.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use super::hash::FastHasher;

/// What can be an item of a collection.
pub trait Item: Clone + Hash {
    /// Itself and all within it, and how deep that is.
    fn measure(&self) -> Measure;
}

/// A member of an object.
impl<K: Item, V: Item> Item for (K, V) {
    fn measure(&self) -> Measure {
        self.0.measure().as_key().and(self.1.measure())
    }
}

/// How much a value holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Values within, and blocks of 256 bytes in those that are not collections; counted as often as they appear.
    pub weight: u64,
    /// Collections within collections.
    pub depth: u32,
}

/// So many bytes are read in about the time that a small value takes.
const BLOCK: u64 = 256;

impl Measure {
    /// Of a value that is not a collection.
    #[inline]
    pub(super) fn of_bytes(bytes: usize) -> Measure {
        Measure { weight: 1 + bytes as u64 / BLOCK, depth: 0 }
    }

    /// As the key of an object: JSON writes a collection there as a text within a text, twice as long.
    pub(super) fn as_key(self) -> Measure {
        let weight = if self.depth > 0 { self.weight.saturating_mul(2) } else { self.weight };
        Measure { weight, depth: self.depth }
    }

    pub(super) fn and(self, other: Measure) -> Measure {
        Measure { weight: self.weight.saturating_add(other.weight), depth: self.depth.max(other.depth) }
    }
}

/// Items behind one pointer.
#[derive(Clone)]
pub(super) struct Shared<T>(Arc<Inner<T>>);

#[derive(Clone)]
struct Inner<T> {
    items: Vec<T>,
    within: Measure,
    hash: OnceLock<u64>,
}

impl<T: Item> Shared<T> {
    pub(super) fn new(items: Vec<T>) -> Shared<T> {
        let within = items.iter().map(Item::measure).fold(Measure::default(), Measure::and);
        Shared(Arc::new(Inner { items, within, hash: OnceLock::new() }))
    }

    pub(super) fn items(&self) -> &[T] {
        &self.0.items
    }

    /// The collection itself and all within it.
    pub(super) fn measure(&self) -> Measure {
        let Measure { weight, depth } = self.0.within;
        Measure { weight: weight.saturating_add(1), depth: depth.saturating_add(1) }
    }

    /// Changes the items, copied if others share them; `added` is what the change adds.
    pub(super) fn change<R>(&mut self, added: Measure, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let inner = Arc::make_mut(&mut self.0);
        inner.within = inner.within.and(added);
        inner.hash = OnceLock::new();
        change(&mut inner.items)
    }

    pub(super) fn into_items(self) -> Vec<T> {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => inner.items,
            Err(shared) => shared.items.clone(),
        }
    }

    pub(super) fn same(&self, other: &Shared<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Computed once, however often the collection is a key.
    pub(super) fn hash<H: Hasher>(&self, state: &mut H) {
        let hash = self.0.hash.get_or_init(|| {
            let mut hasher = FastHasher::default();
            self.0.items.hash(&mut hasher);
            hasher.finish()
        });
        state.write_u64(*hash);
    }
}

impl<T: Item> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared::new(Vec::new())
    }
}
