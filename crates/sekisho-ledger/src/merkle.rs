//! RFC 6962 trees: hashing, growing, proving and checking.

use crate::{Hash, sha256};

/// Why a proof does not show what it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    #[error("the index is not below the tree size")]
    IndexOutOfRange,
    #[error("the sizes of the two trees do not ascend from at least one entry")]
    SizesDescend,
    #[error("the path has the wrong number of hashes")]
    PathLength,
    #[error("the path does not lead to the root")]
    RootMismatch,
    #[error("a hash that the tree needs is not stored")]
    MissingHash,
}

/// Hash of a leaf's bytes: SHA-256(0x00 ‖ data).
pub fn leaf_hash(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// Hash of two subtrees: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The right edge of a growing tree: for each complete subtree on it, level and hash, largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    edge: Vec<(u8, Hash)>,
}

impl Frontier {
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends one leaf hash. `completed` hears of each subtree that it completes, as
    /// (level, index within the level, hash), the leaf itself first.
    pub fn push(&mut self, leaf: Hash, mut completed: impl FnMut(u8, u64, &Hash)) {
        let (mut level, mut hash) = (0u8, leaf);
        completed(0, self.size, &hash);
        while let Some(&(edge_level, left)) = self.edge.last() {
            if edge_level != level {
                break;
            }
            self.edge.pop();
            hash = node_hash(&left, &hash);
            level += 1;
            completed(level, self.size >> level, &hash);
        }
        self.edge.push((level, hash));
        self.size += 1;
    }

    /// The tree's root; the empty tree's is SHA-256 of nothing.
    pub fn root(&self) -> Hash {
        let mut subtrees = self.edge.iter().rev();
        let Some(&(_, mut root)) = subtrees.next() else {
            return sha256(&[]);
        };
        for (_, left) in subtrees {
            root = node_hash(left, &root);
        }
        root
    }

    /// Rebuilds the edge of a stored tree; `stored(level, index)` reads a complete subtree's hash.
    pub fn restore(size: u64, stored: impl Fn(u8, u64) -> Option<Hash>) -> Result<Self, MerkleError> {
        let mut edge = Vec::new();
        for level in (0..64u8).rev().filter(|level| size >> level & 1 == 1) {
            let index = (size >> level) - 1;
            edge.push((level, stored(level, index).ok_or(MerkleError::MissingHash)?));
        }
        Ok(Self { size, edge })
    }
}

/// The inclusion path of leaf `index` in the tree of `size`; `stored` reads complete subtrees.
pub fn inclusion_path(
    index: u64,
    size: u64,
    stored: &dyn Fn(u8, u64) -> Option<Hash>,
) -> Result<Vec<Hash>, MerkleError> {
    if index >= size {
        return Err(MerkleError::IndexOutOfRange);
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0u64, size);
    // From the root to the leaf; the sibling range at each fork is part of the path.
    while end - start > 1 {
        let split = start + largest_power_below(end - start);
        if index < split {
            path.push(range_hash(split, end, stored)?);
            end = split;
        } else {
            path.push(range_hash(start, split, stored)?);
            start = split;
        }
    }
    path.reverse();
    Ok(path)
}

/// The consistency path from the tree of `old_size` to the tree of `new_size` (RFC 6962 §2.1.2); `stored` reads
/// complete subtrees.
pub fn consistency_path(
    old_size: u64,
    new_size: u64,
    stored: &dyn Fn(u8, u64) -> Option<Hash>,
) -> Result<Vec<Hash>, MerkleError> {
    if old_size > new_size || old_size == 0 {
        return Err(MerkleError::SizesDescend);
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0u64, new_size);
    // Down to the subtree in which the old tree ends, noting the sibling range at each fork.
    while old_size < end {
        let split = start + largest_power_below(end - start);
        if old_size <= split {
            path.push(range_hash(split, end, stored)?);
            end = split;
        } else {
            path.push(range_hash(start, split, stored)?);
            start = split;
        }
    }
    // A subtree that is not the whole old tree has to be given.
    if start > 0 {
        path.push(range_hash(start, end, stored)?);
    }
    path.reverse();
    Ok(path)
}

/// Root of the leaves `start..end`, where `start` is a multiple of the largest power below the range.
fn range_hash(start: u64, end: u64, stored: &dyn Fn(u8, u64) -> Option<Hash>) -> Result<Hash, MerkleError> {
    let width = end - start;
    if width.is_power_of_two() {
        let level = width.trailing_zeros() as u8;
        return stored(level, start >> level).ok_or(MerkleError::MissingHash);
    }
    let split = start + largest_power_below(width);
    Ok(node_hash(&range_hash(start, split, stored)?, &range_hash(split, end, stored)?))
}

/// The largest power of two that is smaller than `n`, for `n` of 2 or more.
const fn largest_power_below(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// Checks that `leaf` is entry `index` of the tree with `size` and `root` (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(index: u64, size: u64, leaf: &Hash, path: &[Hash], root: &Hash) -> Result<(), MerkleError> {
    if index >= size {
        return Err(MerkleError::IndexOutOfRange);
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return Err(MerkleError::PathLength);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(MerkleError::PathLength);
    }
    if hash == *root { Ok(()) } else { Err(MerkleError::RootMismatch) }
}

/// Checks that the tree of `old_size` is a prefix of the tree of `new_size` (RFC 9162 §2.1.4.2).
pub fn verify_consistency(
    old_size: u64,
    new_size: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), MerkleError> {
    // The empty tree is a prefix of every tree, so a proof from it would show nothing.
    if old_size > new_size || old_size == 0 {
        return Err(MerkleError::SizesDescend);
    }
    if old_size == new_size {
        return match (proof.is_empty(), old_root == new_root) {
            (false, _) => Err(MerkleError::PathLength),
            (_, false) => Err(MerkleError::RootMismatch),
            _ => Ok(()),
        };
    }
    let mut hashes = proof.iter();
    let first = if old_size.is_power_of_two() { *old_root } else { *hashes.next().ok_or(MerkleError::PathLength)? };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (first, first);
    for sibling in hashes {
        if last == 0 {
            return Err(MerkleError::PathLength);
        }
        if node & 1 == 1 || node == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(MerkleError::PathLength);
    }
    if old == *old_root && new == *new_root { Ok(()) } else { Err(MerkleError::RootMismatch) }
}

#[cfg(test)]
mod tests;
