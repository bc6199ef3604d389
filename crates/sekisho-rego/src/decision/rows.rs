//! Rows: rules that have the same common conditions, counted together. A count is held in bit planes, so that one
//! operation on a word adds to those of 64 rows.

/// A set of rows.
#[derive(Debug)]
pub(super) enum RowSet {
    Few(Box<[u32]>),
    Many(Box<[u64]>),
}

impl RowSet {
    /// Of rows in ascending order, among as many as fill `words`.
    pub(super) fn new(rows: Vec<u32>, words: usize) -> RowSet {
        if rows.len() < words {
            return RowSet::Few(rows.into());
        }
        let mut bits = vec![0; words];
        rows.into_iter().for_each(|row| insert(&mut bits, row));
        RowSet::Many(bits.into())
    }

    /// Takes the rows out of another set.
    pub(super) fn remove_from(&self, set: &mut [u64]) {
        match self {
            RowSet::Few(rows) => {
                for row in rows {
                    if let Some(word) = set.get_mut(*row as usize / 64) {
                        *word &= !(1 << (row % 64));
                    }
                }
            }
            RowSet::Many(bits) => set.iter_mut().zip(bits).for_each(|(word, bits)| *word &= !bits),
        }
    }
}

pub(super) fn insert(set: &mut [u64], row: u32) {
    if let Some(word) = set.get_mut(row as usize / 64) {
        *word |= 1 << (row % 64);
    }
}

pub(super) fn has(set: &[u64], number: u32) -> bool {
    set.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
}

/// The numbers in a set, in ascending order.
pub(super) fn numbers(set: &[u64]) -> impl Iterator<Item = u32> {
    (0_u32..).zip(set).flat_map(|(at, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(at * 64 + bit)
        })
    })
}

/// A count of each row: the planes of 64 rows stand beside each other, the lowest bit first.
pub(super) struct Counts<'a> {
    pub(super) planes: &'a mut [u64],
    pub(super) depth: usize,
}

impl Counts<'_> {
    /// One more for each row of a set.
    pub(super) fn add(&mut self, set: &[u64]) {
        for (planes, word) in self.planes.chunks_exact_mut(self.depth).zip(set) {
            carry(planes, *word);
        }
    }

    /// The same for a set that may be small.
    pub(super) fn add_rows(&mut self, set: &RowSet) {
        match set {
            RowSet::Many(bits) => self.add(bits),
            RowSet::Few(rows) => {
                for row in rows {
                    let begin = *row as usize / 64 * self.depth;
                    let planes = self.planes.get_mut(begin..begin + self.depth);
                    planes.into_iter().for_each(|planes| carry(planes, 1 << (row % 64)));
                }
            }
        }
    }

    pub(super) fn of(&self, row: u32) -> u32 {
        let begin = row as usize / 64 * self.depth;
        let planes = self.planes.get(begin..begin + self.depth).unwrap_or_default();
        planes.iter().rev().fold(0, |count, plane| count << 1 | u32::from(plane >> (row % 64) & 1 == 1))
    }

    /// The lowest count among `live`; `lowest` receives the rows that have it.
    pub(super) fn lowest(&self, live: &[u64], lowest: &mut [u64]) -> Option<u32> {
        lowest.copy_from_slice(live);
        live.iter().any(|word| *word != 0).then_some(())?;
        let mut count = 0;
        for plane in (0..self.depth).rev() {
            let planes = || self.planes.iter().skip(plane).step_by(self.depth);
            let without = planes().zip(&*lowest).any(|(plane, word)| word & !plane != 0);
            count = count << 1 | u32::from(!without);
            if without {
                lowest.iter_mut().zip(planes()).for_each(|(word, plane)| *word &= !plane);
            }
        }
        Some(count)
    }
}

fn carry(planes: &mut [u64], mut bits: u64) {
    for plane in planes {
        if bits == 0 {
            return;
        }
        (*plane, bits) = (*plane ^ bits, *plane & bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_count_as_numbers_do() {
        let (rows, words, depth) = (200_u32, 4_usize, 5_usize);
        let mut planes = vec![0; words * depth];
        let mut counts = Counts { planes: &mut planes, depth };
        let mut wanted = vec![0_u32; rows as usize];
        for step in 2..20_u32 {
            let members: Vec<u32> = (0..rows).filter(|row| row % step == 1).collect();
            members.iter().for_each(|row| wanted[*row as usize] += 1);
            let few = RowSet::Few(members.clone().into());
            match (step % 2, RowSet::new(members, words)) {
                (0, set) => counts.add_rows(&set),
                _ => counts.add_rows(&few),
            }
        }
        (0..rows).for_each(|row| assert_eq!(counts.of(row), wanted[row as usize], "{row}"));
        let mut live = vec![0; words];
        (10..rows).for_each(|row| insert(&mut live, row));
        let mut lowest = vec![0; words];
        while let Some(count) = counts.lowest(&live, &mut lowest) {
            let least = numbers(&live).map(|row| wanted[row as usize]).min().unwrap();
            let with: Vec<u32> = numbers(&live).filter(|row| wanted[*row as usize] == least).collect();
            assert_eq!((count, numbers(&lowest).collect::<Vec<_>>()), (least, with));
            live.iter_mut().zip(&lowest).for_each(|(live, lowest)| *live &= !lowest);
        }
        assert!(live.iter().all(|word| *word == 0));
    }
}
