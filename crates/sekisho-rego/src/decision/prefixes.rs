//! Which of many prefixes a key begins with. Prefixes that contain each other form a forest, so the nearest one in
//! order leads to all others by its parents.

use std::cmp::Ordering;

use crate::builtins::block::Block;

/// What can be a prefix of another key: texts from either end, and blocks of addresses.
pub(super) trait Prefix: Ord {
    /// Whether `key` lies within this prefix.
    fn covers(&self, key: &Self) -> bool;
}

/// Distinct prefixes in ascending order, each with the numbers that belong to it.
#[derive(Debug)]
pub(super) struct Prefixes<K> {
    keys: Box<[K]>,
    /// The longest other one that covers each, or [`NONE`].
    parents: Box<[u32]>,
    numbers: Box<[Box<[u32]>]>,
}

const NONE: u32 = u32::MAX;

impl<K: Prefix> Prefixes<K> {
    pub(super) fn new(mut pairs: Vec<(K, u32)>) -> Self {
        pairs.sort();
        let (mut keys, mut numbers): (Vec<K>, Vec<Vec<u32>>) = (Vec::new(), Vec::new());
        for (key, number) in pairs {
            match (keys.last(), numbers.last_mut()) {
                (Some(last), Some(of_last)) if *last == key => of_last.push(number),
                _ => {
                    keys.push(key);
                    numbers.push(vec![number]);
                }
            }
        }
        let mut parents = Vec::with_capacity(keys.len());
        let mut open: Vec<u32> = Vec::new();
        for (at, key) in (0_u32..).zip(&keys) {
            while let Some(last) = open.last() {
                if keys.get(*last as usize).is_some_and(|outer| outer.covers(key)) {
                    break;
                }
                open.pop();
            }
            parents.push(open.last().copied().unwrap_or(NONE));
            open.push(at);
        }
        let numbers = numbers.into_iter().map(Vec::into_boxed_slice).collect();
        Prefixes { keys: keys.into(), parents: parents.into(), numbers }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Gives each prefix that covers a key to `found`, the longest first. `below` says whether a prefix is at most the
    /// key in their order, and `covers` whether it covers it.
    pub(super) fn each(
        &self,
        below: impl Fn(&K) -> bool,
        covers: impl Fn(&K) -> bool,
        mut found: impl FnMut(&K, &[u32]),
    ) {
        let mut at = self.keys.partition_point(below).checked_sub(1);
        let mut covered = false;
        while let Some(number) = at {
            let (Some(key), Some(numbers)) = (self.keys.get(number), self.numbers.get(number)) else { return };
            // What covers a prefix covers all that it covers.
            covered = covered || covers(key);
            if covered {
                found(key, numbers);
            }
            at = self.parents.get(number).filter(|parent| **parent != NONE).map(|parent| *parent as usize);
        }
    }
}

/// A text that others begin with.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Beginning(pub(super) Box<str>);

impl Prefix for Beginning {
    fn covers(&self, key: &Self) -> bool {
        key.0.starts_with(&*self.0)
    }
}

/// A text that others end with; the order is that of the texts read backwards.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ending(pub(super) Box<str>);

impl Ending {
    pub(super) fn order(&self, text: &str) -> Ordering {
        self.0.bytes().rev().cmp(text.bytes().rev())
    }
}

impl Ord for Ending {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(&other.0)
    }
}

impl PartialOrd for Ending {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Prefix for Ending {
    fn covers(&self, key: &Self) -> bool {
        key.0.ends_with(&*self.0)
    }
}

/// A block within another begins with its prefix.
impl Prefix for Block {
    fn covers(&self, key: &Self) -> bool {
        self.prefix <= key.prefix && self.has(key.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(mut state: u64, count: usize) -> Vec<String> {
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        (0..count).map(|_| (0..next() % 6).map(|_| ["a", "b", "é"][next() % 3]).collect()).collect()
    }

    #[test]
    fn each_prefix_of_a_text_is_found() {
        for seed in 0..200 {
            let known = texts(seed, 1 + seed as usize % 40);
            let numbered = || (0_u32..).zip(&known);
            let beginnings =
                Prefixes::new(numbered().map(|(at, text)| (Beginning(text.as_str().into()), at)).collect());
            let endings = Prefixes::new(numbered().map(|(at, text)| (Ending(text.as_str().into()), at)).collect());
            for text in texts(seed + 1_000, 40) {
                let mut found = Vec::new();
                let add = |_: &Beginning, numbers: &[u32]| found.extend_from_slice(numbers);
                beginnings.each(|key| *key.0 <= *text, |key| text.starts_with(&*key.0), add);
                found.sort_unstable();
                let wanted: Vec<u32> =
                    numbered().filter(|(_, known)| text.starts_with(known.as_str())).map(|(at, _)| at).collect();
                assert_eq!(found, wanted, "{text} in {known:?}");
                let mut found = Vec::new();
                let add = |_: &Ending, numbers: &[u32]| found.extend_from_slice(numbers);
                endings.each(|key| key.order(&text).is_le(), |key| text.ends_with(&*key.0), add);
                found.sort_unstable();
                let wanted: Vec<u32> =
                    numbered().filter(|(_, known)| text.ends_with(known.as_str())).map(|(at, _)| at).collect();
                assert_eq!(found, wanted, "{text} in {known:?}");
            }
        }
    }

    #[test]
    fn each_block_of_an_address_is_found() {
        let blocks = [(0, 0), (0x0a << 24, 104), (0x0a << 24, 112), (0x0a01 << 16, 112), (0x0a01_0203, 128), (7, 128)];
        let all = |bits: u128| {
            let ranges = blocks.iter().map(|(first, prefix)| Block { first: *first, prefix: *prefix });
            let index = Prefixes::new(ranges.zip(0..).collect());
            let mut found = Vec::new();
            index.each(|key| key.first <= bits, |key| key.has(bits), |_, numbers| found.extend_from_slice(numbers));
            found.sort_unstable();
            found
        };
        assert_eq!(all(0x0a01_0203), [0, 1, 3, 4]);
        assert_eq!(all(0x0a00_0203), [0, 1, 2]);
        assert_eq!(all(7), [0, 5]);
        assert_eq!(all(u128::MAX), [0]);
    }
}
