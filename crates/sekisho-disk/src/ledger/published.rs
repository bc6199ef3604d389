//! What the log publishes (c2sp.org/tlog-tiles): tiles and entry bundles of its newest checkpoint's tree, and paths
//! between two of its sizes. Side data is never among it.

use sekisho_ledger::{Bundle, Hash, TileRequest, consistency_path};

use super::Ledger;
use crate::DiskError;
use crate::ledger_files::{read_bundle, read_tile};

impl Ledger {
    /// The tile or bundle that is asked for, or `None` when the published tree has nothing of it yet. A partial one is
    /// cut from whatever wider one is stored. Reads files.
    pub fn published(&self, request: &TileRequest) -> Option<Vec<u8>> {
        let size = self.size();
        if request.width > request.stored(size)?.width {
            return None;
        }
        let width = usize::try_from(request.width).ok()?;
        let Some(level) = request.level else {
            let stored = read_bundle(&self.folder, request.number, size)?;
            let entries = Bundle::entries(&stored).ok()?;
            let mut bundle = Vec::with_capacity(stored.len());
            for entry in entries.get(..width)? {
                Bundle::append(&mut bundle, entry).ok()?;
            }
            return Some(bundle);
        };
        let mut tile = read_tile(&self.folder, level, request.number, size)?;
        if tile.len() < width * 32 {
            return None;
        }
        tile.truncate(width * 32);
        Some(tile)
    }

    /// The path that shows the tree of `old_size` to be the beginning of the tree of `new_size`. Reads files.
    pub fn consistency_path(&self, old_size: u64, new_size: u64) -> Result<Vec<Hash>, DiskError> {
        let size = self.size();
        if new_size > size {
            return Err(DiskError::Rule(format!("the log has {size} entries, not {new_size}")));
        }
        let tile = |level: u8, number: u64| read_tile(&self.folder, level, number, size);
        let stored = |level: u8, index: u64| Bundle::stored_hash(level, index, tile);
        consistency_path(old_size, new_size, &stored).map_err(|error| DiskError::Rule(error.to_string()))
    }
}
