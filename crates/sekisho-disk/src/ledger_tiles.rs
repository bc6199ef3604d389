//! A log's tiles on disk, written behind the write-ahead file and made durable before that is emptied.
//!
//! For readers a tile is written as soon as it changes, and a full one is synced when the write-ahead file is emptied.
//! If that fails it is written once more, to a new inode: what an earlier attempt wrote does not count. Until then its
//! bytes stay in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};

use sekisho_ledger::{Bundle, Frontier, Hash, TILE_WIDTH, bundle_path, leaf_hash, tile_path};

use crate::DiskError;
use crate::atomic::private_folders_below;
use crate::disk::{Disk, replace_file};
use crate::ledger_check::check_edge;
use crate::ledger_files::{read_bundle, read_side, read_tile, restore_frontier, side_length, side_path};

/// The growing edge of the tiles: what is not yet full is kept here whole.
pub(crate) struct Tiles {
    disk: Disk,
    folder: PathBuf,
    pub(crate) frontier: Frontier,
    /// By tile level: the hashes of the tile at the edge.
    edge: BTreeMap<u8, Vec<Hash>>,
    bundle: Vec<u8>,
    side: Vec<u8>,
    /// Full tiles and bundles of this batch, to be written.
    full: VecDeque<(PathBuf, Vec<u8>)>,
    /// Full files written since the write-ahead file began.
    unsynced: BTreeMap<PathBuf, FullFile>,
    /// Partial files: of the tree now, of the one published before it, of the one that the write-ahead file begins
    /// behind.
    edge_files: BTreeSet<PathBuf>,
    earlier: BTreeSet<PathBuf>,
    base: BTreeSet<PathBuf>,
    /// Written and no longer needed.
    superseded: BTreeSet<PathBuf>,
}

/// A file that is written for readers and not yet durable.
struct FullFile {
    bytes: Vec<u8>,
    /// As it was written, while no sync of it was tried.
    file: Option<File>,
}

/// Files that wait for their sync at most; further ones are written once more instead.
const MOST_OPEN: usize = 256;

impl Tiles {
    /// Reads back the edge of a log of `size` entries whose tiles are durable.
    pub(crate) fn restore(disk: Disk, folder: &Path, size: u64) -> Result<Self, DiskError> {
        check_edge(folder, size)?;
        let missing = || DiskError::Damaged { path: folder.to_owned(), what: "a tile is missing" };
        let frontier = restore_frontier(folder, size, size).ok_or_else(missing)?;
        let mut edge = BTreeMap::new();
        for level in 0..8u8 {
            let items = size >> (8 * level);
            let hashes = match usize::try_from(items % TILE_WIDTH).unwrap_or(0) {
                0 => vec![],
                width => {
                    let tile = read_tile(folder, level, items / TILE_WIDTH, size).ok_or_else(missing)?;
                    // Hashes beyond the size are later ones, which are replayed.
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
        let mut tiles = Self {
            disk,
            folder: folder.to_owned(),
            frontier,
            edge,
            bundle,
            side,
            full: VecDeque::new(),
            unsynced: BTreeMap::new(),
            edge_files: BTreeSet::new(),
            earlier: BTreeSet::new(),
            base: BTreeSet::new(),
            superseded: BTreeSet::new(),
        };
        tiles.base = tiles.edge_now().into_keys().collect();
        Ok(tiles)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
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
                    self.full.push_back((self.folder.join(at.path), std::mem::take(hashes).concat()));
                }
            }
        }
        if size.is_multiple_of(TILE_WIDTH) {
            let number = size / TILE_WIDTH - 1;
            if let (Some(at), Some(side)) = (bundle_path(number, size), side_path(number, size)) {
                self.full.push_back((self.folder.join(at.path), std::mem::take(&mut self.bundle)));
                self.full.push_back((self.folder.join(side), std::mem::take(&mut self.side)));
            }
        }
        Ok(())
    }

    /// The partial files of the tree as it is now.
    fn edge_now(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let size = self.frontier.size();
        let mut edge = BTreeMap::new();
        for (&level, hashes) in self.edge.iter().filter(|(_, hashes)| !hashes.is_empty()) {
            let at = tile_path(level, (size >> (8 * level)) / TILE_WIDTH, size);
            edge.extend(at.map(|at| (self.folder.join(at.path), hashes.concat())));
        }
        let number = size / TILE_WIDTH;
        edge.extend(bundle_path(number, size).map(|at| (self.folder.join(at.path), self.bundle.clone())));
        edge.extend(side_path(number, size).map(|path| (self.folder.join(path), self.side.clone())));
        edge
    }

    /// Writes what changed, for readers. Not yet durable: the write-ahead file is, until [`Tiles::sync`]. May be tried
    /// again.
    pub(crate) fn write(&mut self) -> Result<(), DiskError> {
        while let Some((path, bytes)) = self.full.front() {
            let file = in_folder(&self.folder, path, || replace_file(path, bytes))?;
            let file = Some(file).filter(|_| self.unsynced.len() < MOST_OPEN);
            let written = self.full.pop_front().map(|(path, bytes)| (path, FullFile { bytes, file }));
            self.unsynced.extend(written);
        }
        let edge = self.edge_now();
        for (path, bytes) in &edge {
            // A path names its width, so the content of a file never changes; a restart may need it as it is.
            let stands =
                self.edge_files.contains(path) || std::fs::read(path).is_ok_and(|there| there == bytes.as_slice());
            if !stands {
                in_folder(&self.folder, path, || replace_file(path, bytes))?;
            }
        }
        self.superseded.append(&mut self.earlier);
        self.earlier = std::mem::replace(&mut self.edge_files, edge.into_keys().collect());
        Ok(())
    }

    /// Makes durable what a restart from this size needs, whatever came of earlier attempts.
    pub(crate) fn sync(&mut self) -> Result<(), DiskError> {
        let (mut folders, edge) = (BTreeSet::new(), self.edge_now());
        for (path, written) in &mut self.unsynced {
            match written.file.take() {
                Some(file) => self.disk.sync_data(&file, path).map_err(DiskError::io(path))?,
                None => in_folder(&self.folder, path, || self.disk.write_file(path, &written.bytes))?,
            }
        }
        for (path, bytes) in &edge {
            in_folder(&self.folder, path, || self.disk.write_file(path, bytes))?;
        }
        for path in self.unsynced.keys().chain(edge.keys()) {
            folders.extend(path.ancestors().skip(1).take_while(|p| p.starts_with(&self.folder)).map(Path::to_owned));
        }
        folders.iter().try_for_each(|folder| self.disk.sync_folder(folder))
    }

    /// The write-ahead file begins behind what is here, which is durable.
    pub(crate) fn begins_here(&mut self) {
        self.unsynced.clear();
        let base = self.edge_now().into_keys().collect();
        self.superseded.extend(std::mem::replace(&mut self.base, base));
    }

    /// Removes partial files that neither a restart nor a reader of the last two checkpoints needs. A request for one
    /// is answered with the beginning of a wider one (c2sp.org/tlog-tiles, "Partial Tiles").
    pub(crate) fn remove_superseded(&mut self) {
        for path in std::mem::take(&mut self.superseded) {
            if self.edge_files.contains(&path) || self.earlier.contains(&path) || self.base.contains(&path) {
                continue;
            }
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "a partial tile was not removed");
                }
                // The last one takes its folder with it.
                _ => path.parent().map_or((), |folder| drop(std::fs::remove_dir(folder))),
            }
        }
    }

    /// Removes what an earlier run left of partial files, in the folders of the edge and of what was replayed.
    pub(crate) fn remove_older(&mut self) -> Result<(), DiskError> {
        let full = self.unsynced.keys().map(|path| path.with_added_extension("p"));
        let parents = self.edge_files.iter().chain(&self.base).filter_map(|path| path.parent().map(Path::to_owned));
        let folders: BTreeSet<PathBuf> = full.chain(parents).filter(|folder| folder.is_dir()).collect();
        for folder in folders {
            for item in std::fs::read_dir(&folder).map_err(DiskError::io(&folder))? {
                self.superseded.insert(item.map_err(DiskError::io(&folder))?.path());
            }
        }
        self.remove_superseded();
        Ok(())
    }
}

/// Runs `write`, once more behind making the folder of `path` within the log's if that is not there.
fn in_folder<T>(log: &Path, path: &Path, write: impl Fn() -> Result<T, DiskError>) -> Result<T, DiskError> {
    let error = match write() {
        Ok(written) => return Ok(written),
        Err(error) => error,
    };
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            private_folders_below(log, parent)?;
            write()
        }
        _ => Err(error),
    }
}
