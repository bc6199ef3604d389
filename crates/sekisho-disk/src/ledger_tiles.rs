//! A log's tiles on disk, written behind the write-ahead file and made durable before that is emptied.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use sekisho_ledger::{Bundle, Frontier, Hash, TILE_WIDTH, bundle_path, leaf_hash, tile_path};

use crate::DiskError;
use crate::atomic::{private_folder, replace_file, sync_folder, write_atomic};
use crate::ledger::NewEntry;

/// The growing edge of the tiles: what is not yet full is kept here whole.
pub(crate) struct Tiles {
    folder: PathBuf,
    pub(crate) frontier: Frontier,
    /// By tile level: the hashes of the tile at the edge.
    edge: BTreeMap<u8, Vec<Hash>>,
    bundle: Vec<u8>,
    side: Vec<u8>,
    /// Full tiles and bundles of this batch, to be written.
    full: VecDeque<(PathBuf, Vec<u8>)>,
    /// Full files written since the last sync, and the files of the edge.
    unsynced: BTreeSet<PathBuf>,
    edge_files: Vec<PathBuf>,
    /// Folders of partial tiles whose full tile is written but perhaps not yet durable.
    replaced: Vec<PathBuf>,
}

impl Tiles {
    /// Reads back the edge of a log of `size` entries whose tiles are durable.
    pub(crate) fn restore(folder: &Path, size: u64) -> Result<Self, DiskError> {
        let missing = || DiskError::Damaged { path: folder.to_owned(), what: "a tile is missing" };
        let frontier = restore_frontier(folder, size, size).ok_or_else(missing)?;
        let mut edge = BTreeMap::new();
        for level in 0..8u8 {
            let items = size >> (8 * level);
            let hashes = match usize::try_from(items % TILE_WIDTH).unwrap_or(0) {
                0 => vec![],
                width => {
                    let tile = read_tile(folder, level, items / TILE_WIDTH, size).ok_or_else(missing)?;
                    // What stands beyond the size came after it, and is replayed.
                    tile.chunks_exact(32).take(width).filter_map(|hash| hash.try_into().ok()).collect()
                }
            };
            edge.insert(level, hashes);
        }
        let number = size / TILE_WIDTH;
        let count = usize::try_from(size % TILE_WIDTH).unwrap_or(0);
        let (mut bundle, mut side) = (vec![], vec![]);
        if count > 0 {
            let bytes = read_bundle(folder, number, size).ok_or_else(missing)?;
            for entry in Bundle::entries(&bytes).map_err(|_| missing())?.into_iter().take(count) {
                Bundle::append(&mut bundle, entry).map_err(|_| missing())?;
            }
            side = read_side(folder, number, size).ok_or_else(missing)?;
            side.truncate(side_length(&side, count).ok_or_else(missing)?);
        }
        Ok(Self {
            folder: folder.to_owned(),
            frontier,
            edge,
            bundle,
            side,
            full: VecDeque::new(),
            unsynced: BTreeSet::new(),
            edge_files: vec![],
            replaced: vec![],
        })
    }

    /// Adds one entry with its side data, in memory.
    pub(crate) fn push(&mut self, leaf: &[u8], side: &[u8]) -> Result<(), DiskError> {
        Bundle::append(&mut self.bundle, leaf).map_err(|e| DiskError::Rule(e.to_string()))?;
        self.side.extend_from_slice(&u32::try_from(side.len()).unwrap_or(0).to_be_bytes());
        self.side.extend_from_slice(side);
        let edge = &mut self.edge;
        self.frontier.push(leaf_hash(leaf), |level, _, hash| {
            if level % 8 == 0 {
                edge.entry(level / 8).or_default().push(*hash);
            }
        });
        let size = self.frontier.size();
        for (&level, hashes) in &mut self.edge {
            if hashes.len() as u64 == TILE_WIDTH {
                let number = (size >> (8 * level)) / TILE_WIDTH - 1;
                if let Some(at) = tile_path(level, number, size) {
                    self.full.push_back((PathBuf::from(at.path), std::mem::take(hashes).concat()));
                }
            }
        }
        if size.is_multiple_of(TILE_WIDTH) {
            let number = size / TILE_WIDTH - 1;
            if let Some(at) = bundle_path(number, size) {
                self.full.push_back((PathBuf::from(at.path), std::mem::take(&mut self.bundle)));
                if let Some(side) = side_path(number, size) {
                    self.full.push_back((PathBuf::from(side), std::mem::take(&mut self.side)));
                }
            }
        }
        Ok(())
    }

    /// Writes what changed. Not yet durable: the write-ahead file is, until [`Tiles::sync`]. May be tried again.
    pub(crate) fn write(&mut self) -> Result<(), DiskError> {
        let size = self.frontier.size();
        while let Some((path, bytes)) = self.full.front() {
            let path = self.folder.join(path);
            write_file(&path, bytes)?;
            self.replaced.push(path.with_added_extension("p"));
            self.unsynced.insert(path);
            self.full.pop_front();
        }
        let mut edge = Vec::new();
        for (&level, hashes) in self.edge.iter().filter(|(_, hashes)| !hashes.is_empty()) {
            edge.extend(
                tile_path(level, (size >> (8 * level)) / TILE_WIDTH, size).map(|at| (at.path, hashes.concat())),
            );
        }
        let number = size / TILE_WIDTH;
        if let Some(at) = bundle_path(number, size) {
            edge.push((at.path, self.bundle.clone()));
            edge.extend(side_path(number, size).map(|path| (path, self.side.clone())));
        }
        let written = edge.into_iter().map(|(path, bytes)| {
            let path = self.folder.join(path);
            // A path names its width, so what stands there is what it will always hold; a restart may need it as it is.
            let stands = self.edge_files.contains(&path) || std::fs::read(&path).is_ok_and(|there| there == bytes);
            if stands { Ok(path) } else { write_file(&path, &bytes).map(|()| path) }
        });
        // Earlier files of the edge serve readers of earlier checkpoints; a restart needs only the newest.
        self.edge_files = written.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Makes durable what a restart from this size needs.
    pub(crate) fn sync(&mut self) -> Result<(), DiskError> {
        let mut folders = BTreeSet::new();
        for path in self.unsynced.iter().chain(&self.edge_files) {
            let file = std::fs::File::open(path).map_err(DiskError::io(path))?;
            file.sync_all().map_err(DiskError::io(path))?;
            folders.extend(path.ancestors().skip(1).take_while(|p| p.starts_with(&self.folder)).map(Path::to_owned));
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))?;
        self.unsynced.clear();
        Ok(())
    }

    /// Removes partial tiles whose full tile is durable, once nothing restores from the partial ones any more
    /// (c2sp.org/tlog-tiles, "Partial Tiles").
    pub(crate) fn remove_replaced(&mut self) -> Result<(), DiskError> {
        for folder in std::mem::take(&mut self.replaced).into_iter().filter(|folder| folder.is_dir()) {
            std::fs::remove_dir_all(&folder).map_err(DiskError::io(&folder))?;
        }
        Ok(())
    }
}

/// Tile `number` as a tree of `size` needs it: its partial form, or the full one that replaced it and begins with it.
pub(crate) fn read_tile(folder: &Path, level: u8, number: u64, size: u64) -> Option<Vec<u8>> {
    let (partial, full) = (tile_path(level, number, size)?, tile_path(level, number, u64::MAX)?);
    std::fs::read(folder.join(partial.path)).or_else(|_| std::fs::read(folder.join(full.path))).ok()
}

fn read_bundle(folder: &Path, number: u64, size: u64) -> Option<Vec<u8>> {
    let (partial, full) = (bundle_path(number, size)?, bundle_path(number, u64::MAX)?);
    std::fs::read(folder.join(partial.path)).or_else(|_| std::fs::read(folder.join(full.path))).ok()
}

/// The right edge of the tree as it was at `size`, from the tiles of the tree that is stored.
pub(crate) fn restore_frontier(folder: &Path, size: u64, stored: u64) -> Option<Frontier> {
    let tile = |level: u8, number: u64| {
        read_tile(folder, level, number, stored).or_else(|| read_tile(folder, level, number, size))
    };
    Frontier::restore(size, |level, index| Bundle::stored_hash(level, index, tile)).ok()
}

/// The length of the first `count` frames of side data.
fn side_length(side: &[u8], count: usize) -> Option<usize> {
    let mut rest = side;
    for _ in 0..count {
        rest = split_side(rest)?.1;
    }
    Some(side.len() - rest.len())
}

/// Side data stands beside the entries, 256 to a file, each behind its length as u32; it is not hashed, so
/// that it can be erased.
fn side_path(number: u64, size: u64) -> Option<String> {
    let entries = bundle_path(number, size)?.path;
    entries.strip_prefix("tile/entries/").map(|rest| format!("side/{rest}"))
}

fn read_side(folder: &Path, number: u64, size: u64) -> Option<Vec<u8>> {
    let (partial, full) = (side_path(number, size)?, side_path(number, u64::MAX)?);
    std::fs::read(folder.join(partial)).or_else(|_| std::fs::read(folder.join(full))).ok()
}

/// The entries of bundle `number` in the log at `folder`, whose tree has `size` entries.
pub(crate) fn read_entries(folder: &Path, number: u64, size: u64) -> Option<Vec<NewEntry>> {
    let bytes = read_bundle(folder, number, size)?;
    let side = read_side(folder, number, size)?;
    let mut rest = side.as_slice();
    let entry = |leaf: &[u8]| {
        let (side, after) = split_side(rest)?;
        rest = after;
        Some(NewEntry { leaf: leaf.to_vec(), side: side.to_vec() })
    };
    let width = usize::try_from(size.saturating_sub(number * TILE_WIDTH)).ok()?;
    Bundle::entries(&bytes).ok()?.into_iter().take(width).map(entry).collect()
}

/// Puts empty frames in the place of a full bundle's side data.
pub(crate) fn erase_side(folder: &Path, number: u64) -> Result<bool, DiskError> {
    let path = folder.join(side_path(number, u64::MAX).ok_or(DiskError::Inconsistent("there is no such bundle"))?);
    let empty = vec![0; 4 * usize::try_from(TILE_WIDTH).unwrap_or_default()];
    // Its length tells: a bundle that opens nothing has the same.
    if std::fs::metadata(&path).map_err(DiskError::io(&path))?.len() == empty.len() as u64 {
        return Ok(false);
    }
    write_atomic(&path, &empty).map(|()| true)
}

fn split_side(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let Err(error) = replace_file(path, bytes) else { return Ok(()) };
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            private_folder(parent)?;
            replace_file(path, bytes)
        }
        _ => Err(error),
    }
}
