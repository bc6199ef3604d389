//! From a value to the conditions that it meets: one hash of it, and open addressing.

use super::view::{Key, View};

/// Conditions by the constants that they compare with.
#[derive(Debug, Default)]
pub(super) struct Equals {
    /// Powers of two in number, at most half of them in use: the number of an entry, from 1.
    cells: Box<[u32]>,
    entries: Box<[Entry]>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Key,
    conditions: Box<[u32]>,
}

impl Equals {
    pub(super) fn new(mut pairs: Vec<(Key, u32)>) -> Self {
        if pairs.is_empty() {
            return Equals::default();
        }
        pairs.sort_by_cached_key(|(key, condition)| (key.hash(), *condition));
        let size = pairs.len().saturating_mul(2).next_power_of_two();
        let mut cells = vec![0_u32; size].into_boxed_slice();
        let mut entries: Vec<(u64, Key, Vec<u32>)> = Vec::new();
        for (key, condition) in pairs {
            let hash = key.hash();
            let alike = entries.iter_mut().rev().take_while(|(known, ..)| *known == hash);
            match alike.into_iter().find(|(_, known, _)| *known == key) {
                Some((_, _, conditions)) => {
                    if conditions.last() != Some(&condition) {
                        conditions.push(condition);
                    }
                }
                None => entries.push((hash, key, vec![condition])),
            }
        }
        for (number, (hash, ..)) in (1_u32..).zip(&entries) {
            let mut at = cell(*hash, size);
            while let Some(taken) = cells.get_mut(at) {
                if *taken == 0 {
                    *taken = number;
                    break;
                }
                at = (at + 1) & (size - 1);
            }
        }
        let entry = |(hash, key, conditions): (u64, Key, Vec<u32>)| Entry { hash, key, conditions: conditions.into() };
        Equals { cells, entries: entries.into_iter().map(entry).collect() }
    }

    /// The conditions that compare with this value.
    pub(super) fn get(&self, view: View<'_>) -> &[u32] {
        let size = self.cells.len();
        if size == 0 || view == View::Undefined {
            return &[];
        }
        let hash = view.hash();
        let mut at = cell(hash, size);
        while let Some(number) = self.cells.get(at).and_then(|number| number.checked_sub(1)) {
            match self.entries.get(number as usize) {
                Some(entry) if entry.hash == hash && entry.key.is(view) => return &entry.conditions,
                _ => at = (at + 1) & (size - 1),
            }
        }
        &[]
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the bits below the size are taken")]
fn cell(hash: u64, size: usize) -> usize {
    (hash ^ hash >> 32) as usize & (size - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_finds_its_conditions() {
        let text = |number: u32| Key::Text(format!("service-{number}").into());
        let mut pairs: Vec<(Key, u32)> = (0..5_000).map(|number| (text(number), number)).collect();
        pairs.extend((0..100).map(|number| (text(number * 7), 9_000)));
        pairs.push((Key::Integer(3), 9_001));
        let index = Equals::new(pairs);
        for number in 0..6_000_u32 {
            let wanted: &[u32] = match number {
                0..700 if number % 7 == 0 => &[number, 9_000],
                0..5_000 => &[number],
                _ => &[],
            };
            assert_eq!(index.get(View::Text(&format!("service-{number}"))), wanted, "{number}");
        }
        assert_eq!(index.get(View::Integer(3)), [9_001]);
        assert!(index.get(View::Undefined).is_empty() && index.get(View::Bool(true)).is_empty());
    }
}
