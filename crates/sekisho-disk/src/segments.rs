//! Records in append-only segments: each batch is one frame behind one fsync, the oldest segments go first.
//!
//! A segment that is full is named after what may be found in it, so that looking for a record opens few files. This
//! module knows a record's key and class, not what it says.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::segment::{Frame, RecordKept, Summary, read_head, unpack};
use crate::wal::{self, Wal};
use crate::{DiskError, private_folder};

/// A segment is full above this size.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Nor is one written to for longer, so that its records can go when their time has come.
const LONGEST_OPEN: Duration = Duration::from_secs(24 * 3600);

/// A record that was found, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub kept: RecordKept,
    /// The leaf that holds the root of its batch.
    pub log_index: u64,
    /// Its position in its batch.
    pub position: usize,
}

#[derive(Clone)]
struct Sealed {
    path: PathBuf,
    bytes: u64,
    summary: Summary,
}

struct State {
    /// Oldest first.
    sealed: VecDeque<Sealed>,
    number: u64,
    open: Wal,
    open_summary: Summary,
}

/// The records in one folder; cheap to clone.
#[derive(Clone)]
pub struct Segments {
    folder: PathBuf,
    max_bytes: u64,
    state: Arc<Mutex<State>>,
}

impl Segments {
    /// Opens the folder, in which about `max_bytes` are kept. A torn last frame is cut off; a segment that is damaged is set
    /// aside, and said.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<Self, DiskError> {
        private_folder(folder)?;
        let (mut sealed, mut unsealed) = (vec![], vec![]);
        for item in std::fs::read_dir(folder).map_err(DiskError::io(folder))? {
            let path = item.map_err(DiskError::io(folder))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some((number, rest)) = name.split_once('.') else { continue };
            let Ok(number) = u64::from_str_radix(number, 16) else { continue };
            match rest.strip_suffix(".segment").and_then(Summary::from_name) {
                Some(summary) => sealed.push((number, path.clone(), summary)),
                None if rest == "open" => unsealed.push((number, path.clone())),
                None => {}
            }
        }
        sealed.sort();
        unsealed.sort();
        let mut newest = sealed.last().map_or(0, |(number, ..)| number + 1);
        // More than one is there after a crash between making a new segment and naming the one before it.
        let last = unsealed.pop().filter(|(number, _)| *number >= newest);
        for (number, path) in unsealed {
            if sealed.iter().any(|(known, ..)| *known == number) {
                // In a copy that was taken while it was named: the other holds at least as much.
                std::fs::remove_file(&path).map_err(DiskError::io(&path))?;
                continue;
            }
            let summary = readable(&path);
            let named = name_sealed(folder, number, &path, summary)?;
            sealed.push((number, named, summary));
        }
        let reopened = match &last {
            Some((number, path)) => {
                newest = *number;
                reopen(path)?
            }
            None => None,
        };
        if let (Some((number, path)), None) = (last, &reopened) {
            let summary = readable(&path);
            sealed.push((number, name_sealed(folder, number, &path, summary)?, summary));
            newest = number + 1;
        }
        let (open, open_summary) = match reopened {
            Some(opened) => opened,
            None => (Wal::create(&open_path(folder, newest), newest, [])?, Summary::NOTHING),
        };
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let sealed =
            sealed.into_iter().map(|(_, path, summary)| Sealed { bytes: size(&path), path, summary }).collect();
        let state = Arc::new(Mutex::new(State { sealed, number: newest, open, open_summary }));
        Ok(Self { folder: folder.to_owned(), max_bytes, state })
    }

    /// Appends a batch that stands under the leaf `log_index`; durable on return. Writes a file: not for async threads.
    pub fn append(&self, log_index: u64, records: &[RecordKept]) -> Result<(), DiskError> {
        let frame = Frame::pack(log_index, records);
        let mut state = self.state();
        if state.open.len() >= SEGMENT_BYTES || state.open.is_broken() {
            self.roll(&mut state)?;
        }
        state.open.append([[frame.head.as_slice()], [frame.packed.as_slice()]])?;
        state.open_summary = state.open_summary | frame.summary;
        Ok(())
    }

    /// Drops segments whose records are all older than `age`, by a clock that says `now` in Unix milliseconds; to be called
    /// from time to time. Writes files: not for async threads.
    pub fn expire(&self, now: u64, age: Duration) -> Result<(), DiskError> {
        let key_at = |age: Duration| key_at(now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
        let mut state = self.state();
        // First what makes room for the rest.
        self.drop_oldest(&mut state, key_at(age));
        if state.open_summary.oldest < key_at(LONGEST_OPEN.min(age)) {
            self.roll(&mut state)?;
            self.drop_oldest(&mut state, key_at(age));
        }
        Ok(())
    }

    /// Segments of which a part cannot be read. Reads all of them.
    pub fn damaged(&self) -> Vec<PathBuf> {
        let sealed = self.state().sealed.clone();
        let is_damaged = |path: &PathBuf| std::fs::read(path).map_or(true, |bytes| wal::has_rest(&bytes));
        sealed.into_iter().map(|sealed| sealed.path).filter(is_damaged).collect()
    }

    /// The oldest record with this key for which `is` holds, and its whole batch: one that comes later under the same key
    /// takes nothing's place. Reads files.
    pub fn find(&self, key: u128, is: impl Fn(&RecordKept) -> bool) -> Option<(Found, Vec<Bytes>)> {
        let mut oldest = None;
        let _all_read = self.read_where(
            |summary| (summary.oldest..=summary.newest).contains(&key),
            |frame| {
                let records = unpack(&frame.packed)?;
                let position = records.iter().position(|kept| kept.key == key && is(kept))?;
                let found = Found { kept: records.get(position)?.clone(), log_index: frame.log_index, position };
                oldest = Some((found, records.into_iter().map(|kept| kept.record).collect()));
                None::<()>
            },
        );
        oldest
    }

    /// The newest records with a key below `before`, newest first. Reads files.
    pub fn newest(&self, class: Option<u8>, before: u128, limit: usize) -> Vec<Found> {
        let mut found: Vec<Found> = vec![];
        if limit == 0 {
            return found;
        }
        // Keys that are no newer than this do not come into the list any more.
        let floor = std::cell::Cell::new(None);
        let wanted = |summary: &Summary| {
            summary.holds_class(class)
                && summary.oldest < before
                && floor.get().is_none_or(|floor| summary.newest > floor)
        };
        let _all_read = self.read_where(wanted, |frame| {
            let records = unpack(&frame.packed).unwrap_or_default().into_iter().enumerate();
            let mine = records.filter(|(_, kept)| kept.key < before && class.is_none_or(|class| kept.class == class));
            // Copied, so that one record does not hold the memory of its whole batch.
            let own = |kept: RecordKept| RecordKept { record: Bytes::copy_from_slice(&kept.record), ..kept };
            found.extend(mine.map(|(position, kept)| Found { kept: own(kept), log_index: frame.log_index, position }));
            found.sort_by(|a, b| b.kept.key.cmp(&a.kept.key).then_with(|| a.kept.record.cmp(&b.kept.record)));
            // A batch may stand here twice after a crash.
            found.dedup_by(|a, b| a.kept == b.kept);
            found.truncate(limit);
            floor.set(found.get(limit.wrapping_sub(1)).map(|last| last.kept.key));
            None::<()>
        });
        found
    }

    /// Shows frames that may be wanted to `look`, newest first, until it has seen enough.
    fn read_where<T>(
        &self,
        wanted: impl Fn(&Summary) -> bool,
        mut look: impl FnMut(&StoredFrame) -> Option<T>,
    ) -> Option<T> {
        let (sealed, open) = {
            let state = self.state();
            let open = (open_path(&self.folder, state.number), state.number, state.open_summary);
            (state.sealed.clone(), open)
        };
        let (open, number, summary) = open;
        let segments = std::iter::once((open, summary)).chain(sealed.into_iter().rev().map(|s| (s.path, s.summary)));
        for (path, summary) in segments {
            if !wanted(&summary) {
                continue;
            }
            let frames = frames_of(&path).or_else(|| {
                // It was full meanwhile and has its own name now, or it is gone.
                let state = self.state();
                frames_of(&state.sealed.iter().find(|sealed| is_number(&sealed.path, number))?.path)
            });
            for frame in frames.unwrap_or_default().into_iter().rev() {
                if wanted(&frame.summary)
                    && let Some(seen) = look(&frame)
                {
                    return Some(seen);
                }
            }
        }
        None
    }

    /// Begins a new segment, and drops the oldest that are too many.
    fn roll(&self, state: &mut State) -> Result<(), DiskError> {
        let (full, number) = (open_path(&self.folder, state.number), state.number + 1);
        let open = Wal::create(&open_path(&self.folder, number), number, [])?;
        let summary = state.open_summary;
        let path = name_sealed(&self.folder, state.number, &full, summary)?;
        state.open_summary = Summary::NOTHING;
        state.sealed.push_back(Sealed { bytes: state.open.len(), path, summary });
        (state.open, state.number) = (open, number);
        self.drop_oldest(state, 0);
        Ok(())
    }

    fn drop_oldest(&self, state: &mut State, before: u128) {
        let mut bytes: u64 = state.sealed.iter().map(|sealed| sealed.bytes).sum();
        state.sealed.retain(|sealed| {
            let goes = bytes.saturating_add(SEGMENT_BYTES) > self.max_bytes || sealed.summary.newest < before;
            if goes {
                bytes -= sealed.bytes;
                if let Err(error) = std::fs::remove_file(&sealed.path) {
                    tracing::error!(path = %sealed.path.display(), %error, "an old segment was not removed");
                }
            }
            !goes
        });
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The least key of a record of this time.
fn key_at(milliseconds: u64) -> u128 {
    u128::from(milliseconds) << 80
}

/// What may be found in a segment that nobody summed up. If it is damaged, it is as old as its file.
fn readable(path: &Path) -> Summary {
    let frames = frames_of(path).unwrap_or_default();
    let written = std::fs::metadata(path).and_then(|meta| meta.modified());
    let age = written.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    let newest = key_at(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    frames.iter().fold(Summary { newest, ..Summary::NOTHING }, |all, frame| all | frame.summary)
}

struct StoredFrame {
    log_index: u64,
    summary: Summary,
    packed: Bytes,
}

fn open_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.open"))
}

fn is_number(path: &Path, number: u64) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{number:016x}.")))
}

fn name_sealed(folder: &Path, number: u64, path: &Path, summary: Summary) -> Result<PathBuf, DiskError> {
    let named = folder.join(format!("{number:016x}.{}.segment", summary.to_name()));
    std::fs::rename(path, &named).map_err(DiskError::io(path))?;
    Ok(named)
}

/// The frames of a segment, oldest first. `None` when the file is not there.
fn frames_of(path: &Path) -> Option<Vec<StoredFrame>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "a segment is not readable");
            return Some(vec![]);
        }
    };
    if path.extension().is_some_and(|ending| ending == "segment") && wal::has_rest(&bytes) {
        tracing::error!(path = %path.display(), "a segment is damaged; what stands behind the damage is not readable");
    }
    let payloads = wal::payloads(&bytes);
    let frame = |payload: &[u8]| {
        let mut parts = wal::split_payload(payload)?.into_iter();
        let (log_index, summary) = read_head(parts.next()?)?;
        Some(StoredFrame { log_index, summary, packed: bytes.slice_ref(parts.next()?) })
    };
    Some(payloads.filter_map(frame).collect())
}

/// Opens the segment that was written last, or finds it damaged: then nothing is written behind the damage.
fn reopen(path: &Path) -> Result<Option<(Wal, Summary)>, DiskError> {
    match Wal::open(path) {
        Ok(Some((wal, _, records))) => {
            let heads = records.iter().step_by(2).filter_map(|head| read_head(head));
            Ok(Some((wal, heads.fold(Summary::NOTHING, |all, (_, summary)| all | summary))))
        }
        Ok(None) => Ok(None),
        Err(DiskError::Damaged { .. }) => {
            tracing::error!(path = %path.display(), "a segment is damaged; what stands before the damage stays readable");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
