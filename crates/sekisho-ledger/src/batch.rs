//! Batches: many records behind one leaf, as the root of a small tree of their own.

use crate::{Frontier, Hash, MerkleError, inclusion_path, leaf_hash, verify_inclusion};

/// The hashes of a batch's records, in order.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    hashes: Vec<Hash>,
}

/// Where a record stands in its batch, and the hashes that lead to the batch's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPath {
    pub index: u64,
    pub size: u64,
    pub path: Vec<Hash>,
}

impl Batch {
    pub fn of<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { hashes: records.into_iter().map(leaf_hash).collect() }
    }

    pub const fn len(&self) -> usize {
        self.hashes.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    pub fn root(&self) -> Hash {
        let mut frontier = Frontier::default();
        for hash in &self.hashes {
            frontier.push(*hash, |_, _, _| {});
        }
        frontier.root()
    }

    /// The paths of all records, in order.
    pub fn paths(&self) -> Result<Vec<BatchPath>, MerkleError> {
        let mut levels: Vec<Vec<Hash>> = vec![];
        let mut frontier = Frontier::default();
        for hash in &self.hashes {
            frontier.push(*hash, |level, _, hash| {
                if levels.len() <= usize::from(level) {
                    levels.resize(usize::from(level) + 1, vec![]);
                }
                if let Some(row) = levels.get_mut(usize::from(level)) {
                    row.push(*hash);
                }
            });
        }
        let stored = |level: u8, index: u64| levels.get(usize::from(level))?.get(usize::try_from(index).ok()?).copied();
        let size = self.hashes.len() as u64;
        (0..size).map(|index| Ok(BatchPath { index, size, path: inclusion_path(index, size, &stored)? })).collect()
    }
}

impl BatchPath {
    pub fn verify(&self, record: &[u8], root: &Hash) -> Result<(), MerkleError> {
        verify_inclusion(self.index, self.size, &leaf_hash(record), &self.path, root)
    }
}
