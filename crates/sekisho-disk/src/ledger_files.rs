//! Where the parts of a log stand on disk, and how they are read. A partial tile that is gone is the beginning of a
//! wider one.

use std::path::{Path, PathBuf};

use sekisho_ledger::{Bundle, Frontier, TILE_WIDTH, TilePath, bundle_path, tile_path};

use crate::DiskError;
use crate::disk::Disk;
use crate::ledger_entry::NewEntry;

/// How often a file is looked for that the writer may just have replaced by a wider one.
const LOOKS: usize = 3;

/// Tile `number` as a tree of `size` needs it.
pub(crate) fn read_tile(folder: &Path, level: u8, number: u64, size: u64) -> Option<Vec<u8>> {
    let exact = tile_path(level, number, size)?;
    let mut tile = read_at_least(folder, &exact, &tile_path(level, number, u64::MAX)?.path)?;
    tile.truncate(usize::try_from(exact.width * 32).ok()?);
    Some(tile)
}

pub(crate) fn read_bundle(folder: &Path, number: u64, size: u64) -> Option<Vec<u8>> {
    read_at_least(folder, &bundle_path(number, size)?, &bundle_path(number, u64::MAX)?.path)
}

/// Side data stands beside the entries, 256 to a file, each behind its length as u32; it is not hashed, so
/// that it can be erased.
pub(crate) fn side_path(number: u64, size: u64) -> Option<String> {
    beside(&bundle_path(number, size)?.path)
}

fn beside(bundle: &str) -> Option<String> {
    bundle.strip_prefix("tile/entries/").map(|rest| format!("side/{rest}"))
}

pub(crate) fn read_side(folder: &Path, number: u64, size: u64) -> Option<Vec<u8>> {
    let bundle = bundle_path(number, size)?;
    let exact = TilePath { path: beside(&bundle.path)?, ..bundle };
    read_at_least(folder, &exact, &side_path(number, u64::MAX)?)
}

/// The file at `exact`, or the full one or a wider partial one that replaced it; each begins with what it replaced.
fn read_at_least(folder: &Path, exact: &TilePath, full: &str) -> Option<Vec<u8>> {
    let full = folder.join(full);
    let partial = full.with_added_extension("p");
    let read = |path: PathBuf| std::fs::read(path).ok();
    (0..LOOKS).find_map(|_| {
        let stands = read(folder.join(&exact.path)).or_else(|| read(full.clone()));
        stands.or_else(|| {
            let names = std::fs::read_dir(&partial).ok()?.filter_map(|item| item.ok()?.file_name().into_string().ok());
            let widths = names.filter_map(|name| name.parse().ok());
            let widest: u64 = widths.filter(|width| *width >= exact.width).max()?;
            read(partial.join(widest.to_string()))
        })
    })
}

/// The right edge of the tree as it was at `size`, from the tiles of the tree that is stored.
pub(crate) fn restore_frontier(folder: &Path, size: u64, stored: u64) -> Option<Frontier> {
    let tile = |level: u8, number: u64| {
        read_tile(folder, level, number, stored).or_else(|| read_tile(folder, level, number, size))
    };
    Frontier::restore(size, |level, index| Bundle::stored_hash(level, index, tile)).ok()
}

/// The length of the first `count` frames of side data.
pub(crate) fn side_length(side: &[u8], count: usize) -> Option<usize> {
    let mut rest = side;
    for _ in 0..count {
        rest = split_side(rest)?.1;
    }
    Some(side.len() - rest.len())
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

pub(crate) fn split_side(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// A full bundle's side data when it is erased: empty frames. One that opens nothing is the same.
const ERASED: [u8; 4 * TILE_WIDTH as usize] = [0; 4 * TILE_WIDTH as usize];

fn full_side(folder: &Path, number: u64) -> Result<PathBuf, DiskError> {
    Ok(folder.join(side_path(number, u64::MAX).ok_or(DiskError::Inconsistent("there is no such bundle"))?))
}

/// Whether a full bundle has side data anywhere, in its file or in the partial ones before it.
pub(crate) fn has_side(folder: &Path, number: u64) -> Result<bool, DiskError> {
    let path = full_side(folder, number)?;
    let length = std::fs::metadata(&path).map_err(DiskError::io(&path))?.len();
    Ok(length != ERASED.len() as u64 || path.with_added_extension("p").exists())
}

/// Puts empty frames in the place of a full bundle's side data. What the write-ahead file holds of it is the caller's
/// to end.
pub(crate) fn erase_side(folder: &Path, number: u64) -> Result<(), DiskError> {
    let path = full_side(folder, number)?;
    let partial = path.with_added_extension("p");
    match std::fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(DiskError::io(&partial)(error)),
        _ => Disk::of_machine().write_atomic(&path, &ERASED),
    }
}
