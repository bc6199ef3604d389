//! The tile layout of c2sp.org/tlog-tiles: where a hash and an entry are stored, and how.

use crate::Hash;

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u64 = 256;
const TILE_LEVELS: u8 = 8;
/// Longest leaf: entry bundles hold a length of 16 bits (c2sp.org/tlog-tiles).
pub const MAX_LEAF_BYTES: usize = 65_535;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    #[error("an entry is longer than 65535 bytes")]
    EntryTooLong,
    #[error("the entry bundle ends in the middle of an entry")]
    Truncated,
}

/// A tile's file name below the log's folder, and the number of hashes or entries in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TilePath {
    pub path: String,
    pub width: u64,
    pub partial: bool,
}

/// Tile `number` of tile level `level` in a tree of `size`, or `None` when nothing of it exists yet.
pub fn tile_path(level: u8, number: u64, size: u64) -> Option<TilePath> {
    path_of(&level.to_string(), number, size >> (TILE_LEVELS * level))
}

/// Entry bundle `number` in a tree of `size`, or `None` when nothing of it exists yet.
pub fn bundle_path(number: u64, size: u64) -> Option<TilePath> {
    path_of("entries", number, size)
}

fn path_of(folder: &str, number: u64, items: u64) -> Option<TilePath> {
    let width = items.saturating_sub(number * TILE_WIDTH).min(TILE_WIDTH);
    if width == 0 {
        return None;
    }
    let mut path = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    let partial = width < TILE_WIDTH;
    let suffix = if partial { format!(".p/{width}") } else { String::new() };
    Some(TilePath { path: format!("tile/{folder}/{path}{suffix}"), width, partial })
}

/// Where the hash of complete subtree (`level`, `index`) is found: tile level, tile number, and the
/// run of hashes in that tile whose root it is.
pub(crate) const fn locate(level: u8, index: u64) -> (u8, u64, u64, u64) {
    let tile_level = level / TILE_LEVELS;
    let run = 1u64 << (level % TILE_LEVELS);
    let first = index * run;
    (tile_level, first / TILE_WIDTH, first % TILE_WIDTH, run)
}

/// Reads the hash of a complete subtree from tiles; `tile` gives a tile's bytes.
pub(crate) fn subtree_hash(level: u8, index: u64, tile: impl Fn(u8, u64) -> Option<Vec<u8>>) -> Option<Hash> {
    let (tile_level, number, first, run) = locate(level, index);
    let bytes = tile(tile_level, number)?;
    let from = usize::try_from(first).ok()? * 32;
    let to = from + usize::try_from(run).ok()? * 32;
    let mut row: Vec<Hash> = bytes.get(from..to)?.chunks_exact(32).filter_map(|c| c.try_into().ok()).collect();
    while row.len() > 1 {
        row = row
            .chunks(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(crate::node_hash(left, right)),
                _ => None,
            })
            .collect();
    }
    row.first().copied()
}

/// Entry bundles: each entry behind its length as a big-endian u16.
#[derive(Debug, Clone, Copy)]
pub struct Bundle;

impl Bundle {
    pub fn append(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), TileError> {
        let length = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLong)?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
        Ok(())
    }

    pub fn entries(mut bundle: &[u8]) -> Result<Vec<&[u8]>, TileError> {
        let mut out = Vec::new();
        while !bundle.is_empty() {
            let (length, rest) = bundle.split_first_chunk::<2>().ok_or(TileError::Truncated)?;
            let (entry, rest) =
                rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(TileError::Truncated)?;
            out.push(entry);
            bundle = rest;
        }
        Ok(out)
    }

    /// Reads complete subtrees of a log stored as tiles of a tree of at least `size` entries.
    pub fn stored_hash(level: u8, index: u64, tile: impl Fn(u8, u64) -> Option<Vec<u8>>) -> Option<Hash> {
        subtree_hash(level, index, tile)
    }
}
