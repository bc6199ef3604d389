//! Records in append-only segments: each batch is a frame behind one fsync, or two, and a record is found by its key
//! through an index.
//!
//! Each reporter has a file for records of class 0, which are the many, and one for all others. Each of the two kinds
//! may have half of the space; when there is too much, the reporter that holds most of its kind loses its oldest
//! segment. So no reporter can displace what others keep, and no flood of class 0 displaces the rest. This module knows
//! a record's key and class, not what it says.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sekisho_ledger::BatchPath;

use crate::disk::Disk;
use crate::index_entry::prefix_of;
use crate::key_index::{KeyIndex, Snapshot, descending, merge};
use crate::segment::{BatchTree, Frame, IndexedRecord, Part, Stored, Summary, class_bit};
use crate::segment_files::{Segment, SeriesId, frames_of, open_path, read_folder, reopen, seal};
use crate::wal::{self, Wal};
use crate::{DiskError, private_folder};

/// A segment is full above this size, or above its share if there are many reporters.
const MOST_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
const LEAST_SEGMENT_BYTES: u64 = 1024 * 1024;
/// Parts of the space that a segment is at most, for each file that is written to.
const SEGMENTS: u64 = 16;

/// Nor is one written to for longer, so that its records can go when their time has come.
const LONGEST_OPEN: Duration = Duration::from_secs(24 * 3600);
/// Frames in which a key is looked for: the same may be there more than once.
const MAX_CANDIDATES: usize = 256;
/// Unpacked frames that a listing holds.
const HELD_FRAMES: usize = 64;

/// A record that was found, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub kept: IndexedRecord,
    /// The leaf that holds the root of its batch.
    pub log_index: u64,
    /// Its position in its batch.
    pub position: usize,
}

/// The records of one reporter and kind.
#[derive(Default)]
struct Series {
    /// Oldest first.
    sealed: VecDeque<Segment>,
    open: Option<Open>,
}

struct Open {
    segment: Segment,
    /// Opened when it is written to.
    wal: Option<Wal>,
    /// Written to since the last check.
    busy: bool,
}

impl Series {
    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.sealed.iter().chain(self.open.as_ref().map(|open| &open.segment))
    }

    fn bytes(&self) -> u64 {
        self.segments().map(|segment| segment.bytes).sum()
    }
}

struct State {
    series: BTreeMap<SeriesId, Series>,
    next_number: u32,
    index: KeyIndex,
}

/// The records in one folder; cheap to clone.
#[derive(Clone)]
pub struct Segments {
    folder: PathBuf,
    max_bytes: u64,
    state: Arc<Mutex<State>>,
    /// Held by the one who merges indexes.
    upkeep: Arc<Mutex<()>>,
    frames_read: Arc<AtomicU64>,
}

impl Segments {
    /// Opens the folder, in which about `max_bytes` are kept. A torn last frame is cut off; a segment that is damaged
    /// is not written to any more, and the log says so.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<Self, DiskError> {
        private_folder(folder)?;
        let mut series: BTreeMap<SeriesId, Series> = BTreeMap::new();
        let mut next_number = 0;
        for (id, segment, is_open) in read_folder(folder)? {
            next_number = next_number.max(segment.number + 1);
            let of = series.entry(id).or_default();
            // More than one is there after a crash between making a new segment and naming the one before it.
            let earlier = if is_open {
                of.open.replace(Open { segment, wal: None, busy: false })
            } else {
                of.sealed.push_back(segment);
                None
            };
            if let Some(earlier) = earlier {
                of.sealed.push_back(seal(folder, id, earlier.segment)?);
            }
        }
        let lengths = series.values().flat_map(Series::segments).map(|segment| (segment.number, segment.bytes));
        let lengths: BTreeMap<u32, u64> = lengths.collect();
        let mut index = KeyIndex::open(folder, |number| lengths.get(&number).copied())?;
        for segment in series.values().flat_map(Series::segments) {
            index_rest(&mut index, segment)?;
        }
        let state = Arc::new(Mutex::new(State { series, next_number, index }));
        let (folder, upkeep, frames_read) = (folder.to_owned(), Arc::default(), Arc::default());
        let segments = Self { folder, max_bytes, state, upkeep, frames_read };
        segments.merge_indexes();
        Ok(segments)
    }

    /// Appends a batch of `reporter` that stands under the leaf `log_index`; durable on return. Writes a file: not for
    /// async threads.
    pub fn append(&self, reporter: &str, log_index: u64, records: &[IndexedRecord]) -> Result<(), DiskError> {
        let tree = BatchTree::of(records);
        for is_rare in [false, true] {
            let is_kept = |kept: &IndexedRecord| (kept.class != 0) == is_rare;
            if !records.iter().any(is_kept) {
                continue;
            }
            let frame = Frame::pack(log_index, records, &tree, is_kept);
            let keys = records.iter().filter(|kept| is_kept(kept)).map(|kept| (kept.key, kept.class));
            self.append_frame(SeriesId::of(reporter, is_rare), &frame, keys)?;
        }
        self.merge_indexes();
        Ok(())
    }

    fn append_frame(
        &self,
        id: SeriesId,
        frame: &Frame,
        keys: impl Iterator<Item = (u128, u8)>,
    ) -> Result<(), DiskError> {
        let mut state = self.state();
        let state = &mut *state;
        let limit = self.segment_bytes(state);
        let number = state.next_number;
        let series = state.series.entry(id).or_default();
        if series.open.as_ref().is_some_and(|open| open.segment.bytes >= limit) {
            close(&self.folder, id, series)?;
        }
        let (open, is_new) = ready_to_write(&self.folder, id, series, number)?;
        state.next_number += u32::from(is_new);
        let Some(wal) = open.wal.as_mut() else { return Err(DiskError::Inconsistent("a segment is not open")) };
        let from = wal.len();
        wal.append([[frame.head.as_slice()], [frame.packed.as_slice()]])?;
        open.segment.bytes = wal.len();
        open.segment.summary = open.segment.summary | frame.summary;
        open.busy = true;
        state.index.add(open.segment.number, from, wal.len(), keys);
        if let Err(error) = state.index.flush_if_large() {
            tracing::error!(%error, "an index of decisions stays in memory");
        }
        self.drop_excess(state)
    }

    fn segment_bytes(&self, state: &State) -> u64 {
        let share = self.max_bytes / SEGMENTS / (state.series.len() as u64).max(1);
        share.clamp(LEAST_SEGMENT_BYTES, MOST_SEGMENT_BYTES)
    }

    /// Merges indexes that have become many, away from the lock.
    fn merge_indexes(&self) {
        let Ok(_alone) = self.upkeep.try_lock() else { return };
        loop {
            let (due, numbers) = {
                let mut state = self.state();
                let segments = state.series.values().flat_map(Series::segments);
                let numbers: std::collections::BTreeSet<u32> = segments.map(|segment| segment.number).collect();
                (state.index.due(|number| numbers.contains(&number)), numbers)
            };
            let Some((runs, path)) = due else { return };
            match merge(&runs, &path, |number| numbers.contains(&number)) {
                Ok(run) => self.state().index.replace(&runs, run),
                Err(error) => return tracing::error!(%error, "indexes of decisions were not merged"),
            }
        }
    }

    /// Drops segments whose records are all older than `age`, by a clock that says `now` in Unix milliseconds; to be
    /// called from time to time. Writes files: not for async threads.
    pub fn expire(&self, now: u64, age: Duration) -> Result<(), DiskError> {
        let key_at = |age: Duration| key_at(now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
        let (before, closing) = (key_at(age), key_at(LONGEST_OPEN.min(age)));
        let mut state = self.state();
        // First the deletions, which free space for the rest.
        state.series.values_mut().for_each(|series| drop_older(series, before));
        let mut closed = Ok(());
        for (id, series) in &mut state.series {
            if series.open.as_ref().is_some_and(|open| open.segment.summary.oldest < closing) {
                closed = closed.and(close(&self.folder, *id, series));
                drop_older(series, before);
            }
            // A reporter that is quiet holds no file open.
            if let Some(open) = &mut series.open
                && !std::mem::take(&mut open.busy)
            {
                open.wal = None;
            }
        }
        state.series.retain(|_, series| series.segments().next().is_some());
        drop(state);
        self.merge_indexes();
        closed
    }

    /// Segments of which a part cannot be read. Reads all of them.
    pub fn damaged(&self) -> Vec<PathBuf> {
        let sealed: Vec<PathBuf> = {
            let state = self.state();
            state.series.values().flat_map(|series| &series.sealed).map(|segment| segment.path.clone()).collect()
        };
        let is_damaged = |path: &PathBuf| std::fs::read(path).map_or(true, |bytes| wal::has_rest(&bytes));
        sealed.into_iter().filter(is_damaged).collect()
    }

    /// Bytes kept, with their indexes.
    pub fn bytes(&self) -> u64 {
        let state = self.state();
        state.series.values().map(Series::bytes).sum::<u64>() + state.index.bytes()
    }

    /// Blocks of indexes and frames that were read since the start.
    pub fn blocks_read(&self) -> u64 {
        let runs = self.state().index.with_prefix(0).runs;
        self.frames_read.load(Ordering::Relaxed) + runs.iter().map(|run| run.reads()).sum::<u64>()
    }

    /// The oldest record with this key for which `is` holds, and its place in its batch: one that comes later under the
    /// same key takes nothing's place. Reads files.
    pub fn find(&self, key: u128, is: impl Fn(&IndexedRecord) -> bool) -> Option<(Found, BatchPath)> {
        let prefix = prefix_of(key);
        let Snapshot { memory, runs } = self.state().index.with_prefix(prefix);
        let mut frames: Vec<(u32, u32)> =
            runs.iter().flat_map(|run| run.find(prefix)).chain(memory).map(|e| e.frame()).collect();
        frames.sort_unstable();
        frames.dedup();
        let parts: Vec<Part> = if runs.iter().any(|run| run.is_damaged()) {
            self.scan(key)
        } else {
            frames.into_iter().take(MAX_CANDIDATES).filter_map(|frame| self.part(frame)).collect()
        };
        let hits = parts.iter().flat_map(|part| {
            let mine = part.records.iter().filter(|(_, kept)| kept.key == key && is(kept));
            mine.map(move |(position, kept)| (part, *position, kept))
        });
        let (part, position, kept) = hits.min_by_key(|(part, position, _)| (part.log_index, *position))?;
        Some((found(part, position, kept), part.path(position)?))
    }

    /// Without the index: all frames that may hold a key.
    fn scan(&self, key: u128) -> Vec<Part> {
        let holds = |summary: &Summary| (summary.oldest..=summary.newest).contains(&key);
        let paths: Vec<PathBuf> = {
            let state = self.state();
            let segments = state.series.values().flat_map(Series::segments);
            segments.filter(|segment| holds(&segment.summary)).map(|segment| segment.path.clone()).collect()
        };
        let frames = paths.iter().flat_map(|path| frames_of(path, 0).unwrap_or_default());
        frames.filter(|frame| holds(&frame.stored.summary)).filter_map(|frame| frame.stored.unpack()).collect()
    }

    /// The newest records with a key below `before`, newest first. Reads files.
    pub fn newest(&self, class: Option<u8>, before: u128, limit: usize) -> Vec<Found> {
        let Some(most) = before.checked_sub(1).filter(|_| limit > 0) else { return vec![] };
        let classes = class.map_or(u8::MAX, class_bit);
        let most = prefix_of(most);
        let wanted =
            |entry: &crate::index_entry::Entry| entry.prefix <= most && class_bit(entry.class()) & classes != 0;
        let snapshot = self.state().index.snapshot(wanted);
        let mut entries = descending(&snapshot, most, classes).peekable();
        let mut listed: Vec<Found> = vec![];
        let mut held: BTreeMap<(u32, u32), Option<Part>> = BTreeMap::new();
        while listed.len() < limit
            && let Some(prefix) = entries.peek().map(|entry| entry.prefix)
        {
            let mut frames: Vec<(u32, u32)> = vec![];
            while let Some(entry) = entries.next_if(|entry| entry.prefix == prefix) {
                frames.push(entry.frame());
            }
            frames.dedup();
            let mut group: Vec<Found> = vec![];
            for frame in frames.into_iter().take(MAX_CANDIDATES) {
                if held.len() > HELD_FRAMES {
                    held.clear();
                }
                let Some(part) = held.entry(frame).or_insert_with(|| self.part(frame)) else { continue };
                let of_group = |kept: &IndexedRecord| {
                    prefix_of(kept.key) == prefix && kept.key < before && class.is_none_or(|class| kept.class == class)
                };
                let mine = part.records.iter().filter(|(_, kept)| of_group(kept));
                group.extend(mine.map(|(position, kept)| found(part, *position, kept)));
            }
            group.sort_by(|a, b| {
                b.kept
                    .key
                    .cmp(&a.kept.key)
                    .then_with(|| (&a.kept.record, a.log_index).cmp(&(&b.kept.record, b.log_index)))
            });
            // A batch may stand here twice after a crash.
            group.dedup_by(|a, b| a.kept == b.kept);
            listed.append(&mut group);
        }
        listed.truncate(limit);
        listed
    }

    /// Reads one frame. `None` if its segment is gone or it is damaged.
    fn part(&self, (number, offset): (u32, u32)) -> Option<Part> {
        let path = || {
            let state = self.state();
            let found = state.series.values().flat_map(Series::segments).find(|segment| segment.number == number);
            found.map(|segment| segment.path.clone())
        };
        // It may be full meanwhile and have another name.
        let file = File::open(path()?).or_else(|error| path().map_or(Err(error), File::open)).ok()?;
        self.frames_read.fetch_add(1, Ordering::Relaxed);
        let payload = Bytes::from(wal::read_frame(&file, u64::from(offset)).or_else(|| {
            tracing::error!(number, offset, "a segment of decisions is damaged");
            None
        })?);
        let mut parts = wal::split_payload(&payload)?.into_iter();
        Stored::read(parts.next()?, payload.slice_ref(parts.next()?))?.unpack()
    }

    fn drop_excess(&self, state: &mut State) -> Result<(), DiskError> {
        let limit = self.segment_bytes(state);
        loop {
            let held = |series: &BTreeMap<SeriesId, Series>, is_rare: bool| {
                let of_kind = series.iter().filter(|(id, _)| id.is_rare == is_rare);
                of_kind.map(|(_, series)| series.bytes()).sum::<u64>()
            };
            let (many, rare) = (held(&state.series, false), held(&state.series, true));
            if many + rare + state.index.bytes() + limit <= self.max_bytes {
                return Ok(());
            }
            let of_kind = state.series.iter().filter(|(id, _)| id.is_rare == (rare > many));
            let Some(id) = of_kind.max_by_key(|(_, series)| series.bytes()).map(|(id, _)| *id) else { return Ok(()) };
            let Some(series) = state.series.get_mut(&id) else { return Ok(()) };
            if series.sealed.is_empty() {
                close(&self.folder, id, series)?;
            }
            let Some(oldest) = series.sealed.pop_front() else { return Ok(()) };
            remove(&oldest);
            if series.segments().next().is_none() {
                state.series.remove(&id);
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn found(part: &Part, position: u32, kept: &IndexedRecord) -> Found {
    // Copied, so that one record does not hold the memory of its whole batch.
    let kept = IndexedRecord { record: Bytes::copy_from_slice(&kept.record), ..*kept };
    Found { kept, log_index: part.log_index, position: usize::try_from(position).unwrap_or(usize::MAX) }
}

/// The file that a series is written to, made or opened if need be, and whether it is new.
fn ready_to_write<'a>(
    folder: &Path,
    id: SeriesId,
    series: &'a mut Series,
    number: u32,
) -> Result<(&'a mut Open, bool), DiskError> {
    let disk = Disk::of_machine();
    if let Some(open) = &mut series.open {
        if open.wal.is_none() {
            open.wal = reopen(&disk, &open.segment.path)?;
        }
        if open.wal.as_ref().is_none_or(Wal::is_broken) {
            close(folder, id, series)?;
        }
    }
    let is_new = series.open.is_none();
    if is_new {
        let path = open_path(folder, id, number);
        let wal = Wal::create(&disk, &path, u64::from(number), [])?;
        let segment = Segment { number, bytes: wal.len(), path, summary: Summary::NOTHING };
        series.open = Some(Open { segment, wal: Some(wal), busy: true });
    }
    series.open.as_mut().map(|open| (open, is_new)).ok_or(DiskError::Inconsistent("a segment is not open"))
}

/// Names the open segment after what is in it; nothing more is written to it.
fn close(folder: &Path, id: SeriesId, series: &mut Series) -> Result<(), DiskError> {
    let Some(open) = series.open.take() else { return Ok(()) };
    if let Some(wal) = open.wal {
        wal.end();
    }
    match seal(folder, id, open.segment.clone()) {
        Ok(sealed) => series.sealed.push_back(sealed),
        Err(error) => {
            series.open = Some(Open { wal: None, ..open });
            return Err(error);
        }
    }
    Ok(())
}

fn drop_older(series: &mut Series, before: u128) {
    series.sealed.retain(|segment| {
        let goes = segment.summary.newest < before;
        if goes {
            remove(segment);
        }
        !goes
    });
}

fn remove(segment: &Segment) {
    if let Err(error) = std::fs::remove_file(&segment.path) {
        tracing::error!(path = %segment.path.display(), %error, "an old segment was not removed");
    }
}

/// The least key of a record of this time.
fn key_at(milliseconds: u64) -> u128 {
    u128::from(milliseconds) << 80
}

/// Adds to the index what no run covers of a segment.
fn index_rest(index: &mut KeyIndex, segment: &Segment) -> Result<(), DiskError> {
    let covered = index.covered(segment.number);
    if covered >= segment.bytes {
        return Ok(());
    }
    for frame in frames_of(&segment.path, covered).unwrap_or_default() {
        let part = frame.stored.unpack();
        let keys = part.iter().flat_map(|part| &part.records).map(|(_, kept)| (kept.key, kept.class));
        index.add(segment.number, frame.from, frame.to, keys);
        index.flush_if_large()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
