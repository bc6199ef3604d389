//! A log on disk, read part by part and held against what depends on it: entries against their tile, a tile against the
//! one above it, the whole against its checkpoint.

use std::fmt;
use std::path::{Path, PathBuf};

use sekisho_ledger::{Bundle, Frontier, Hash, TILE_WIDTH, bundle_path, leaf_hash, tile_path};

use crate::DiskError;
use crate::ledger_entry::Logged;
use crate::ledger_files::{read_bundle, read_side, read_tile, restore_frontier, side_path, split_side};
use crate::wal::{Part, salvage};

/// Levels of tiles that a log of 2^64 entries has.
const LEVELS: u8 = 8;

/// What is damaged: a file of a log, and which entries that concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogDamage {
    /// Below the log's folder.
    pub file: PathBuf,
    pub first: u64,
    pub last: u64,
    pub what: &'static str,
}

impl fmt::Display for LogDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (entries {} to {})", self.file.display(), self.what, self.first, self.last)
    }
}

/// A check of the log in a folder as it was at a checkpoint. Its server may run.
pub struct LogCheck {
    folder: PathBuf,
    size: u64,
}

impl LogCheck {
    pub fn new(folder: &Path, size: u64) -> Self {
        Self { folder: folder.to_owned(), size }
    }

    /// How many bundles there are to check.
    pub const fn bundles(&self) -> u64 {
        self.size.div_ceil(TILE_WIDTH)
    }

    /// Checks one bundle, its openings, and the tiles that it completes. `opens` judges a leaf's side data.
    pub fn bundle(&self, number: u64, opens: impl Fn(&[u8], &[u8]) -> bool) -> Vec<LogDamage> {
        let mut damage: Vec<LogDamage> = self.entries(number).err().into_iter().collect();
        damage.extend(self.side(number, opens).err());
        let last = number + 1 == self.bundles();
        for level in 1..LEVELS {
            let span = TILE_WIDTH.pow(u32::from(level));
            if (number + 1).is_multiple_of(span) || last {
                damage.extend(self.tile(level, number / span).err());
            }
        }
        damage
    }

    /// Checks the tree's edge against the root in the checkpoint.
    pub fn root(&self, root: &Hash) -> Option<LogDamage> {
        let found = restore_frontier(&self.folder, self.size, self.size).map(|frontier| frontier.root());
        let last = self.size.saturating_sub(1);
        let damage = |what| Some(LogDamage { file: "checkpoint".into(), first: 0, last, what });
        match found {
            None => damage("a tile that its root needs is missing"),
            Some(found) if found != *root => damage("the tiles have another root"),
            Some(_) => None,
        }
    }

    /// Checks the write-ahead file, which holds the newest entries.
    pub fn write_ahead(&self) -> Option<LogDamage> {
        let bytes = std::fs::read(self.folder.join("wal")).unwrap_or_default();
        let (base, parts) = salvage(&bytes);
        let mut first = base.unwrap_or(0);
        for part in parts {
            match part {
                Part::Records(records) => {
                    let is_entry = |record: &&&[u8]| matches!(Logged::read(record), Some(Logged::Entry { .. }));
                    first += records.iter().filter(is_entry).count() as u64;
                }
                Part::Lost(_) => {
                    let what = "it is damaged in the middle";
                    return Some(LogDamage { file: "wal".into(), first, last: self.size.max(first + 1) - 1, what });
                }
            }
        }
        None
    }

    fn damage(&self, file: Option<String>, positions: (u64, u64), what: &'static str) -> LogDamage {
        let last = positions.1.min(self.size.saturating_sub(1));
        LogDamage { file: file.unwrap_or_default().into(), first: positions.0, last, what }
    }

    /// Entries against the tile of their hashes.
    fn entries(&self, number: u64) -> Result<(), LogDamage> {
        let begin = number * TILE_WIDTH;
        let whole = (begin, begin + TILE_WIDTH - 1);
        let bundle = || bundle_path(number, self.size).map(|at| at.path);
        let tile_file = || tile_path(0, number, self.size).map(|at| at.path);
        let width = self.size.saturating_sub(begin).min(TILE_WIDTH);
        let tile = read_tile(&self.folder, 0, number, self.size).filter(|tile| tile.len() as u64 == width * 32);
        let tile = tile.ok_or_else(|| self.damage(tile_file(), whole, "it is missing or too short"))?;
        let stored: Vec<Hash> = hashes(&tile);
        let bytes = read_bundle(&self.folder, number, self.size);
        let bytes = bytes.ok_or_else(|| self.damage(bundle(), whole, "it is missing"))?;
        let entries = Bundle::entries(&bytes).unwrap_or_default();
        let found = entries.iter().map(|entry| leaf_hash(entry)).chain(std::iter::repeat([0; 32]));
        let wrong = (begin..).zip(stored.iter().zip(found)).filter(|(_, (stored, found))| *stored != found);
        let wrong: Vec<u64> = wrong.map(|(index, _)| index).collect();
        let (Some(first), Some(last)) = (wrong.first().copied(), wrong.last().copied()) else { return Ok(()) };
        // The tile above says which of the two is as it was.
        let above = read_tile(&self.folder, 1, number / TILE_WIDTH, self.size).map(|tile| hashes(&tile));
        let above = above.and_then(|above| above.get(usize::try_from(number % TILE_WIDTH).ok()?).copied());
        match above {
            Some(above) if above != root_of(&stored) => {
                Err(self.damage(tile_file(), (first, last), "its hashes are not those of the tile above it"))
            }
            _ => Err(self.damage(bundle(), (first, last), "its entries are not those that the log's tiles hold")),
        }
    }

    fn side(&self, number: u64, opens: impl Fn(&[u8], &[u8]) -> bool) -> Result<(), LogDamage> {
        let begin = number * TILE_WIDTH;
        let damage = |at, what| self.damage(side_path(number, self.size), at, what);
        let whole = (begin, begin + TILE_WIDTH - 1);
        let side = read_side(&self.folder, number, self.size).ok_or_else(|| damage(whole, "it is missing"))?;
        let bytes = read_bundle(&self.folder, number, self.size).unwrap_or_default();
        let entries = Bundle::entries(&bytes).unwrap_or_default();
        let width = usize::try_from(self.size.saturating_sub(begin)).unwrap_or(usize::MAX);
        let mut rest = side.as_slice();
        for (index, leaf) in (begin..).zip(entries.into_iter().take(width)) {
            let short = || damage((index, whole.1), "it ends or breaks off before the entries do");
            let (side, after) = split_side(rest).ok_or_else(short)?;
            if !side.is_empty() && !opens(leaf, side) {
                return Err(damage((index, index), "it does not open what the entry commits to"));
            }
            rest = after;
        }
        Ok(())
    }

    /// The hashes of a tile above level 0 against the tiles below it.
    fn tile(&self, level: u8, number: u64) -> Result<(), LogDamage> {
        let Some(at) = tile_path(level, number, self.size) else { return Ok(()) };
        let below = TILE_WIDTH.pow(u32::from(level));
        let begin = number * below * TILE_WIDTH;
        let whole = (begin, begin + at.width * below - 1);
        let tile = read_tile(&self.folder, level, number, self.size).filter(|tile| tile.len() as u64 == at.width * 32);
        let tile = tile.ok_or_else(|| self.damage(Some(at.path.clone()), whole, "it is missing or too short"))?;
        for (position, stored) in (0..).zip(hashes(&tile)) {
            let child = read_tile(&self.folder, level - 1, number * TILE_WIDTH + position, self.size);
            // One that is missing is found where it is checked itself.
            let Some(child) = child.filter(|child| child.len() as u64 == TILE_WIDTH * 32) else { continue };
            if root_of(&hashes(&child)) != stored {
                let range = (begin + position * below, begin + (position + 1) * below - 1);
                return Err(self.damage(Some(at.path), range, "it and a tile below it differ"));
            }
        }
        Ok(())
    }
}

/// Refuses a log whose edge, from which it grows, is not what its tiles say: the bundle that is not full, the last full
/// one, the tiles above them.
pub(crate) fn check_edge(folder: &Path, size: u64) -> Result<(), DiskError> {
    let check = LogCheck::new(folder, size);
    let bundles = check.bundles();
    let found = (bundles.saturating_sub(2)..bundles).flat_map(|number| check.bundle(number, |_, _| true)).next();
    found.map_or(Ok(()), |damage| {
        tracing::error!(%damage, "the log is damaged");
        Err(DiskError::Damaged { path: folder.join(damage.file), what: damage.what })
    })
}

fn hashes(tile: &[u8]) -> Vec<Hash> {
    tile.chunks_exact(32).filter_map(|hash| hash.try_into().ok()).collect()
}

fn root_of(hashes: &[Hash]) -> Hash {
    let mut tree = Frontier::default();
    hashes.iter().for_each(|hash| tree.push(*hash, |_, _, _| {}));
    tree.root()
}
