//! Segments as files: their names, and the frames in them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use crate::DiskError;
use crate::disk::Disk;
use crate::segment::{Stored, Summary};
use crate::wal::{self, Wal};

/// Whose records a file holds, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesId {
    /// The beginning of the SHA-256 of the reporter's name; 0 in segments of the release before this one, which held
    /// all reporters'.
    reporter: u64,
    pub is_rare: bool,
}

impl SeriesId {
    pub(crate) fn of(reporter: &str, is_rare: bool) -> Self {
        let hash = digest(&SHA256, reporter.as_bytes());
        let reporter = hash.as_ref().first_chunk::<8>().map_or(1, |first| u64::from_be_bytes(*first).max(1));
        Self { reporter, is_rare }
    }

    fn to_name(self) -> String {
        format!("{:016x}-{}", self.reporter, u8::from(self.is_rare))
    }

    fn from_name(name: &str) -> Option<Self> {
        let (reporter, kind) = name.split_once('-')?;
        let is_rare = ["0", "1"].iter().position(|known| *known == kind)? == 1;
        Some(Self { reporter: u64::from_str_radix(reporter, 16).ok()?, is_rare })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// Unique among all reporters.
    pub number: u32,
    pub bytes: u64,
    pub path: PathBuf,
    pub summary: Summary,
}

pub(crate) fn open_path(folder: &Path, id: SeriesId, number: u32) -> PathBuf {
    folder.join(format!("{}.{number:016x}.open", id.to_name()))
}

/// Names a file after what is in it.
pub(crate) fn seal(folder: &Path, id: SeriesId, segment: Segment) -> Result<Segment, DiskError> {
    let name = format!("{}.{:016x}.{}.segment", id.to_name(), segment.number, segment.summary.to_name());
    let path = folder.join(name);
    std::fs::rename(&segment.path, &path).map_err(DiskError::io(&segment.path))?;
    let bytes = std::fs::metadata(&path).map_err(DiskError::io(&path))?.len();
    Ok(Segment { bytes, path, ..segment })
}

/// The segments of a folder by number, and which of them is written to.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<(SeriesId, Segment, bool)>, DiskError> {
    let mut found = vec![];
    for item in std::fs::read_dir(folder).map_err(DiskError::io(folder))? {
        let path = item.map_err(DiskError::io(folder))?.path();
        let Some((id, number, summary)) = path.file_name().and_then(|name| read_name(name.to_str()?)) else { continue };
        found.push((number, summary.is_none(), id, path, summary));
    }
    found.sort();
    let mut segments: Vec<(SeriesId, Segment, bool)> = vec![];
    for (number, is_open, id, path, summary) in found {
        if is_open && segments.last().is_some_and(|(_, before, _)| before.number == number) {
            // In a copy that was taken while it was named: the other holds at least as much.
            std::fs::remove_file(&path).map_err(DiskError::io(&path))?;
            continue;
        }
        let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        let segment = match summary {
            Some(summary) => Segment { number, bytes, path, summary },
            None => read_open(number, path),
        };
        // Nothing is added to what the release before this one wrote.
        let is_old = is_open && id.reporter == 0;
        let segment = if is_old { seal(folder, id, segment)? } else { segment };
        segments.push((id, segment, is_open && !is_old));
    }
    Ok(segments)
}

/// Series, number and, if the segment is full, what is in it.
fn read_name(name: &str) -> Option<(SeriesId, u32, Option<Summary>)> {
    let (first, rest) = name.split_once('.')?;
    // The release before this one began with the number.
    let (id, number, rest) = match SeriesId::from_name(first) {
        Some(id) => rest.split_once('.').map(|(number, rest)| (id, number, rest))?,
        None => (SeriesId { reporter: 0, is_rare: false }, first, rest),
    };
    let number = u32::try_from(u64::from_str_radix(number, 16).ok()?).ok()?;
    match rest.strip_suffix(".segment") {
        Some(summary) => Some((id, number, Some(Summary::from_name(summary)?))),
        None => (rest == "open").then_some((id, number, None)),
    }
}

/// What may be found in a segment that has no such name yet. If nothing in it is readable, it is as old as its file.
fn read_open(number: u32, path: PathBuf) -> Segment {
    let frames = frames_of(&path, 0).unwrap_or_default();
    let written = std::fs::metadata(&path).and_then(|meta| meta.modified());
    let age = written.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    let newest = if frames.is_empty() { age.as_millis() << 80 } else { 0 };
    let summary = frames.iter().fold(Summary { newest, ..Summary::NOTHING }, |all, frame| all | frame.stored.summary);
    Segment { number, bytes: frames.last().map_or(wal::HEAD as u64, |frame| frame.to), path, summary }
}

/// A frame, and which bytes of its file it takes.
pub(crate) struct Placed {
    pub from: u64,
    pub to: u64,
    pub stored: Stored,
}

/// The frames of a segment from a byte on, oldest first. `None` when the file is not there.
pub(crate) fn frames_of(path: &Path, from: u64) -> Option<Vec<Placed>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "a segment is not readable");
            return Some(vec![]);
        }
    };
    if path.extension().is_some_and(|ending| ending == "segment") && wal::has_rest(&bytes) {
        tracing::error!(path = %path.display(), "a segment is damaged; records behind the damage are not readable");
    }
    let placed = |(from, to, payload): (u64, u64, &[u8])| {
        let mut parts = wal::split_payload(payload)?.into_iter();
        Some(Placed { from, to, stored: Stored::read(parts.next()?, bytes.slice_ref(parts.next()?))? })
    };
    Some(wal::frames(&bytes).filter(|(begin, ..)| *begin >= from).filter_map(placed).collect())
}

/// Opens a segment to write to it. `None` if it is gone or damaged: nothing is written behind damage.
pub(crate) fn reopen(disk: &Disk, path: &Path) -> Result<Option<Wal>, DiskError> {
    match Wal::open(disk, path) {
        Ok(opened) => Ok(opened.map(|(wal, ..)| wal)),
        Err(DiskError::Damaged { .. }) => {
            tracing::error!(path = %path.display(), "a segment is damaged; records before the damage stay readable");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
