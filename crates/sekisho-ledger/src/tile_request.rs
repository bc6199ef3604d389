//! The path of a tile or an entry bundle as clients ask for it (c2sp.org/tlog-tiles).

use crate::{TILE_WIDTH, TilePath, bundle_path, tile_path};

/// Path elements of three digits each; far beyond any log, and no product of them overflows.
const MAX_ELEMENTS: usize = 5;

/// A request for hashes or entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileRequest {
    /// Of hashes; `None` for entries.
    pub level: Option<u8>,
    pub number: u64,
    /// 256 for a full one.
    pub width: u64,
}

impl TileRequest {
    /// Reads `<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`, in its one form.
    pub fn parse(path: &str) -> Option<Self> {
        let (folder, rest) = path.split_once('/')?;
        let level = match folder {
            "entries" => None,
            // A tree has 64 levels, which are 8 of tiles; there is nothing above.
            level => Some(level.parse().ok().filter(|level: &u8| *level < 8)?),
        };
        let (elements, width) = match rest.split_once(".p/") {
            Some((elements, width)) => (elements, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
            None => (rest, TILE_WIDTH),
        };
        if elements.split('/').count() > MAX_ELEMENTS {
            return None;
        }
        let digits = elements.split('/').map(|element| element.strip_prefix('x').unwrap_or(element));
        let number = digits
            .map(|element| element.parse::<u64>().ok())
            .try_fold(0, |number: u64, element| Some(number * 1000 + element.filter(|element| *element < 1000)?))?;
        let request = Self { level, number, width };
        (request.path().as_deref() == Some(path)).then_some(request)
    }

    /// Where it is stored in a tree of `size`, at its width there.
    pub fn stored(&self, size: u64) -> Option<TilePath> {
        match self.level {
            Some(level) => tile_path(level, self.number, size),
            None => bundle_path(self.number, size),
        }
    }

    fn path(&self) -> Option<String> {
        let items = self.number.checked_mul(TILE_WIDTH)?.checked_add(self.width)?;
        // What does not fit is a tile that no tree has.
        let size = items.checked_mul(1u64.checked_shl(8 * u32::from(self.level.unwrap_or(0)))?)?;
        let path = self.stored(size).filter(|stored| stored.width == self.width)?.path;
        path.strip_prefix("tile/").map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_form() {
        let good = [
            ("0/000", Some(0), 0, 256),
            ("0/000.p/1", Some(0), 0, 1),
            ("entries/x001/x234/067", None, 1_234_067, 256),
            ("1/x001/000.p/255", Some(1), 1000, 255),
        ];
        for (path, level, number, width) in good {
            assert_eq!(TileRequest::parse(path), Some(TileRequest { level, number, width }), "{path}");
        }
        let bad = [
            "",
            "0",
            "0/",
            "00/000",
            "+0/000",
            "8/000",
            "63/000",
            "-1/000",
            "0/0",
            "0/0000",
            "0/x000/000",
            "0/001/000",
            "0/x001",
            "0/x001/x000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/000.p",
            "0/000.p/1/2",
            "0/+01",
            "0/000/",
            "/0/000",
            "entries",
            "entries/../0",
            "side/000",
            "0/..",
            "entries/x999/x999/x999/x999/x999/999",
            "7/x999/x999/999",
            "0/000.p/1.p/1",
            "entries/000\0",
        ];
        for path in bad {
            assert_eq!(TileRequest::parse(path), None, "{path}");
        }
    }
}
