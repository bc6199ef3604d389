//! Objects: keys of any kind in their order, each with a value.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::shared::{Item, Measure, Shared};

/// Keys in ascending order, each with a value.
#[derive(Clone)]
pub struct Members<K, V>(Shared<(K, V)>);

/// Collects members; the last value of a key wins.
pub struct MembersBuilder<K, V>(Vec<(K, V)>);

impl<K: Item + Ord, V: Item> MembersBuilder<K, V> {
    /// A builder with capacity for this many members.
    pub fn with_capacity(members: usize) -> MembersBuilder<K, V> {
        MembersBuilder(Vec::with_capacity(members))
    }

    /// Adds a member.
    pub fn push(&mut self, key: K, value: V) {
        self.0.push((key, value));
    }

    /// The object of the members; the last value of a key wins.
    pub fn build(self) -> Members<K, V> {
        Members::from_vec(self.0)
    }
}

impl<K: Item + Ord, V: Item> Members<K, V> {
    /// The object of these members; the last value of a key wins.
    pub fn from_vec(mut members: Vec<(K, V)>) -> Members<K, V> {
        if !members.is_sorted_by(|a, b| a.0 < b.0) {
            members.sort_by(|a, b| a.0.cmp(&b.0));
            // `dedup_by` keeps the first of its equals; the value of the last moves there.
            members.dedup_by(|later, first| {
                let same = later.0 == first.0;
                if same {
                    std::mem::swap(&mut later.1, &mut first.1);
                }
                same
            });
        }
        Members(Shared::new(members))
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members().len()
    }

    /// Has it no members?
    pub fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    /// The value of the key that `order` calls equal; it compares a key with the one looked for.
    #[inline]
    pub(super) fn find(&self, order: impl Fn(&K) -> Ordering) -> Option<&V> {
        let at = self.members().binary_search_by(|member| order(&member.0)).ok()?;
        self.members().get(at).map(|member| &member.1)
    }

    /// The members in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.members().iter().map(|(key, value)| (key, value))
    }

    /// The members in the order of their keys.
    pub fn members(&self) -> &[(K, V)] {
        self.0.items()
    }

    /// The keys in their order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator {
        self.members().iter().map(|member| &member.0)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator {
        self.members().iter().map(|member| &member.1)
    }

    /// Sets the value of a key; copies if others share the object. For many members use [`MembersBuilder<K, V>`].
    pub fn insert(&mut self, key: K, value: V) {
        let found = self.members().binary_search_by(|member| member.0.cmp(&key));
        let member = (key, value);
        self.0.change(member.measure(), |members| match found {
            Ok(at) => {
                if let Some(place) = members.get_mut(at) {
                    place.1 = member.1;
                }
            }
            Err(at) => members.insert(at, member),
        });
    }

    /// Takes a key out; copies if others share the object.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.members().binary_search_by(|member| member.0.cmp(key)).ok()?;
        Some(self.0.change(Measure::default(), |members| members.remove(at).1))
    }

    /// Its members in order, copied only if others share them.
    pub fn into_vec(self) -> Vec<(K, V)> {
        self.0.into_items()
    }

    pub(super) fn measure(&self) -> Measure {
        self.0.measure()
    }
}

impl<K: Item + Ord, V: Item> FromIterator<(K, V)> for Members<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Members<K, V> {
        Members::from_vec(members.into_iter().collect())
    }
}

impl<K: Item + Ord, V: Item + PartialEq> PartialEq for Members<K, V> {
    fn eq(&self, other: &Members<K, V>) -> bool {
        self.0.same(&other.0) || self.members() == other.members()
    }
}

impl<K: Item + Ord, V: Item + Eq> Eq for Members<K, V> {}

impl<K: Item + Ord, V: Item + Ord> PartialOrd for Members<K, V> {
    fn partial_cmp(&self, other: &Members<K, V>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Item + Ord, V: Item + Ord> Ord for Members<K, V> {
    /// Member by member: the smaller key first, then the smaller value, then the shorter object.
    fn cmp(&self, other: &Members<K, V>) -> Ordering {
        if self.0.same(&other.0) { Ordering::Equal } else { self.members().cmp(other.members()) }
    }
}

impl<K: Item + Ord, V: Item> Hash for Members<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<K: Item + Ord, V: Item> Default for Members<K, V> {
    fn default() -> Members<K, V> {
        Members(Shared::default())
    }
}

impl<K, V> Default for MembersBuilder<K, V> {
    fn default() -> MembersBuilder<K, V> {
        MembersBuilder(Vec::new())
    }
}
