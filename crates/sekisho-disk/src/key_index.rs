//! The positions of records, by their keys: sorted runs on disk, merged as their number grows. A lookup reads one block
//! of each of a logarithmic number of runs, for every reporter and every time that a record names.
//!
//! A run is derived from segments and says of which bytes of them. What no run covers is read from the segments at the
//! start; a run that is damaged is dropped there and made again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::DiskError;
use crate::index_entry::Entry;
use crate::index_run::{Run, RunWriter, Span};

/// Entries in memory above which a run is written.
const MEMORY_ENTRIES: usize = 64 * 1024;
/// Runs of about the same size that are merged into one.
const FAN: usize = 8;

/// The index as it is at one moment; cheap to take.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub memory: Vec<Entry>,
    pub runs: Vec<Arc<Run>>,
}

pub(crate) struct KeyIndex {
    folder: PathBuf,
    memory: BTreeSet<Entry>,
    /// Of which bytes of which segments the entries in memory are.
    spans: BTreeMap<u32, Span>,
    runs: Vec<Arc<Run>>,
    next: u64,
}

impl KeyIndex {
    /// Opens the runs in a folder. `length` tells which segments there are, and how long they are.
    pub(crate) fn open(folder: &Path, length: impl Fn(u32) -> Option<u64>) -> Result<Self, DiskError> {
        // A run of more than is there belongs to other files, as in a copy that was taken meanwhile: what is appended
        // next would count as covered.
        let fits = |span: &Span| length(span.segment).is_none_or(|length| span.to <= length);
        let is_good = |run: &Run| {
            let spans = run.spans();
            spans.iter().any(|span| length(span.segment).is_some()) && spans.iter().all(fits) && run.blocks_are_whole()
        };
        let (mut runs, mut next) = (vec![], 0);
        for item in std::fs::read_dir(folder).map_err(DiskError::io(folder))? {
            let path = item.map_err(DiskError::io(folder))?.path();
            let Some(number) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".index")) else {
                continue;
            };
            let Ok(number) = u64::from_str_radix(number, 16) else { continue };
            next = next.max(number + 1);
            match Run::open(&path).filter(is_good) {
                Some(run) => runs.push(Arc::new(run)),
                None => remove(&path),
            }
        }
        // A merge that was interrupted leaves what it merged.
        runs.sort_by_key(|run: &Arc<Run>| Reverse(run.len()));
        let mut kept: Vec<Arc<Run>> = vec![];
        for run in runs {
            if run.spans().iter().all(|span| kept.iter().any(|larger| larger.covers(span))) {
                remove(run.path());
            } else {
                kept.push(run);
            }
        }
        let folder = folder.to_owned();
        Ok(Self { folder, memory: BTreeSet::new(), spans: BTreeMap::new(), runs: kept, next })
    }

    /// Up to which byte the runs cover a segment.
    pub(crate) fn covered(&self, segment: u32) -> u64 {
        let spans = self.runs.iter().flat_map(|run| run.spans()).filter(|span| span.segment == segment);
        let mut spans: Vec<(u64, u64)> = spans.map(|span| (span.from, span.to)).collect();
        spans.sort_unstable();
        spans.into_iter().fold(0, |covered, (from, to)| if from <= covered { covered.max(to) } else { covered })
    }

    /// Adds the records of a frame that stands at `from..to` of a segment.
    pub(crate) fn add(&mut self, segment: u32, from: u64, to: u64, records: impl Iterator<Item = (u128, u8)>) {
        let Ok(offset) = u32::try_from(from) else { return };
        let before = self.memory.len();
        self.memory.extend(records.map(|(key, class)| Entry::new(key, segment, offset, class)));
        let span = self.spans.entry(segment).or_insert(Span { segment, from, to, entries: 0 });
        span.to = to;
        span.entries += (self.memory.len() - before) as u64;
    }

    pub(crate) fn snapshot(&self, wanted: impl Fn(&Entry) -> bool) -> Snapshot {
        Snapshot {
            memory: self.memory.iter().filter(|entry| wanted(entry)).copied().collect(),
            runs: self.runs.clone(),
        }
    }

    /// The entries in memory with this prefix, and the runs.
    pub(crate) fn with_prefix(&self, prefix: u64) -> Snapshot {
        let least = Entry { prefix, segment: 0, place: 0 };
        let most = Entry { prefix, segment: u32::MAX, place: u32::MAX };
        Snapshot { memory: self.memory.range(least..=most).copied().collect(), runs: self.runs.clone() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes()).sum()
    }

    /// Writes what is in memory as a run when it has grown large. On failure it stays there.
    pub(crate) fn flush_if_large(&mut self) -> Result<(), DiskError> {
        if self.memory.len() < MEMORY_ENTRIES {
            return Ok(());
        }
        let mut writer = RunWriter::new(&self.next_path())?;
        self.memory.iter().try_for_each(|entry| writer.push(*entry))?;
        let run = writer.finish(self.spans.values().copied().collect())?;
        self.runs.push(Arc::new(run));
        self.memory.clear();
        self.spans.clear();
        Ok(())
    }

    fn next_path(&mut self) -> PathBuf {
        self.next += 1;
        self.folder.join(format!("{:016x}.index", self.next - 1))
    }

    /// Drops runs of which nothing is left, and names work to do away from the lock: runs to merge, and the file for
    /// the result.
    pub(crate) fn due(&mut self, is_there: impl Fn(u32) -> bool) -> Option<(Vec<Arc<Run>>, PathBuf)> {
        let live =
            |run: &Run| run.spans().iter().filter(|span| is_there(span.segment)).map(|span| span.entries).sum::<u64>();
        self.runs.retain(|run| {
            let stays = live(run) > 0;
            if !stays {
                remove(run.path());
            }
            stays
        });
        let mut tiers: BTreeMap<u32, Vec<Arc<Run>>> = BTreeMap::new();
        for run in &self.runs {
            tiers.entry((run.len() / MEMORY_ENTRIES as u64).max(1).ilog(FAN as u64)).or_default().push(run.clone());
        }
        let many = tiers.into_values().find(|runs| runs.len() >= FAN);
        let merge = many.or_else(|| {
            // Half of it points to nothing.
            let half = self.runs.iter().find(|run| live(run) * 2 < run.len());
            half.map(|run| vec![run.clone()])
        })?;
        let path = self.next_path();
        Some((merge, path))
    }

    /// Puts a merged run in the place of those that it was made of.
    pub(crate) fn replace(&mut self, merged: &[Arc<Run>], by: Run) {
        self.runs.retain(|run| !merged.iter().any(|old| Arc::ptr_eq(run, old)));
        self.runs.push(Arc::new(by));
        merged.iter().for_each(|run| remove(run.path()));
    }
}

/// Merges runs into a new one, without records of deleted segments.
pub(crate) fn merge(runs: &[Arc<Run>], path: &Path, is_there: impl Fn(u32) -> bool) -> Result<Run, DiskError> {
    let mut writer = RunWriter::new(path)?;
    let mut heads: Vec<_> = runs.iter().map(|run| run.ascending()).collect();
    let mut queue: BinaryHeap<Reverse<(Entry, usize)>> = BinaryHeap::new();
    for (at, head) in heads.iter_mut().enumerate() {
        queue.extend(head.next().map(|entry| Reverse((entry, at))));
    }
    let mut last = None;
    while let Some(Reverse((entry, at))) = queue.pop() {
        if last != Some(entry) && is_there(entry.segment) {
            writer.push(entry)?;
        }
        last = Some(entry);
        queue.extend(heads.get_mut(at).and_then(Iterator::next).map(|entry| Reverse((entry, at))));
    }
    if let Some(damaged) = runs.iter().find(|run| run.is_damaged()) {
        let what = "a block of an index does not fit its checksum; a restart makes it again";
        return Err(DiskError::Damaged { path: damaged.path().to_owned(), what });
    }
    let mut spans: Vec<Span> =
        runs.iter().flat_map(|run| run.spans()).filter(|s| is_there(s.segment)).copied().collect();
    spans.sort_unstable();
    // Neighbours become one, so that a run does not name each of its parts.
    let mut joined: Vec<Span> = vec![];
    for span in spans {
        match joined.last_mut() {
            Some(before) if before.segment == span.segment && before.to >= span.from => {
                before.to = before.to.max(span.to);
                before.entries += span.entries;
            }
            _ => joined.push(span),
        }
    }
    writer.finish(joined)
}

/// All entries of a snapshot, the newest first.
pub(crate) fn descending(snapshot: &Snapshot, most: u64, classes: u8) -> impl Iterator<Item = Entry> {
    let mut heads: Vec<Box<dyn Iterator<Item = Entry>>> =
        snapshot.runs.iter().map(|run| Box::new(run.descending(most, classes)) as Box<_>).collect();
    heads.push(Box::new(snapshot.memory.clone().into_iter().rev()));
    let mut queue: BinaryHeap<(Entry, usize)> = BinaryHeap::new();
    for (at, head) in heads.iter_mut().enumerate() {
        queue.extend(head.next().map(|entry| (entry, at)));
    }
    std::iter::from_fn(move || {
        let (entry, at) = queue.pop()?;
        queue.extend(heads.get_mut(at).and_then(Iterator::next).map(|entry| (entry, at)));
        Some(entry)
    })
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "an index of decisions was not removed");
    }
}
