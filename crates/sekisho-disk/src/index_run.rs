//! One sorted run of an index on disk: blocks of entries, then what each block begins with and its checksum, kept in
//! memory.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Buf, BufMut};

use crate::DiskError;
use crate::index_entry::Entry;
use crate::segment::class_bit;

const MAGIC: &[u8; 8] = b"sekidx1\n";
const ENTRY: usize = 16;
/// Entries in a block: 4 KiB.
const BLOCK: usize = 256;
/// Length of the footer, its checksum, the magic word.
const TRAILER: u64 = 24;

/// Of which bytes of a segment a run's entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub segment: u32,
    pub from: u64,
    pub to: u64,
    pub entries: u64,
}

/// What a block begins with, which classes are in it, and its checksum.
#[derive(Clone, Copy)]
struct Fence {
    first: u64,
    classes: u8,
    sum: [u8; 8],
}

pub(crate) struct Run {
    path: PathBuf,
    file: File,
    spans: Vec<Span>,
    fences: Vec<Fence>,
    entries: u64,
    reads: AtomicU64,
    damaged: AtomicBool,
}

impl Run {
    /// `None` if the file is not whole.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        let mut trailer = [0; TRAILER as usize];
        file.read_exact_at(&mut trailer, length.checked_sub(TRAILER)?).ok()?;
        let (mut head, magic) = trailer.split_at_checked(16)?;
        let footer_length = head.try_get_u64().ok()?;
        let begin = length.checked_sub(TRAILER)?.checked_sub(footer_length)?;
        let mut footer = vec![0; usize::try_from(footer_length).ok()?];
        file.read_exact_at(&mut footer, begin).ok()?;
        if magic != MAGIC || sum_of(&footer) != head {
            return None;
        }
        let mut rest = footer.as_slice();
        let count = rest.try_get_u32().ok()?;
        let mut span = || {
            let (segment, from) = (rest.try_get_u32().ok()?, rest.try_get_u64().ok()?);
            Some(Span { segment, from, to: rest.try_get_u64().ok()?, entries: rest.try_get_u64().ok()? })
        };
        let spans = (0..count).map(|_| span()).collect::<Option<Vec<_>>>()?;
        let mut fence = || {
            let (first, classes) = (rest.try_get_u64().ok()?, rest.try_get_u8().ok()?);
            let (sum, after) = rest.split_first_chunk::<8>()?;
            let fence = Fence { first, classes, sum: *sum };
            rest = after;
            Some(fence)
        };
        let fences: Vec<Fence> = std::iter::from_fn(&mut fence).collect();
        let whole = begin % ENTRY as u64 == 0 && fences.len() as u64 == (begin / ENTRY as u64).div_ceil(BLOCK as u64);
        let (reads, damaged) = (AtomicU64::new(0), AtomicBool::new(false));
        let entries = begin / ENTRY as u64;
        whole.then(|| Self { path: path.to_owned(), file, spans, fences, entries, reads, damaged })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub(crate) fn covers(&self, span: &Span) -> bool {
        self.spans.iter().any(|own| own.segment == span.segment && own.from <= span.from && own.to >= span.to)
    }

    pub(crate) const fn len(&self) -> u64 {
        self.entries
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.entries * ENTRY as u64
    }

    /// Whether a block that was read does not fit its checksum.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Blocks read since it was opened.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Reads all blocks.
    pub(crate) fn blocks_are_whole(&self) -> bool {
        (0..self.fences.len()).for_each(|at| drop(self.block(at)));
        self.reads.store(0, Ordering::Relaxed);
        !self.is_damaged()
    }

    fn block(&self, at: usize) -> Vec<Entry> {
        let Some(fence) = self.fences.get(at) else { return vec![] };
        let begin = (at * BLOCK) as u64;
        let count = self.entries.saturating_sub(begin).min(BLOCK as u64);
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(BLOCK) * ENTRY];
        let read = self.file.read_exact_at(&mut bytes, begin * ENTRY as u64);
        self.reads.fetch_add(1, Ordering::Relaxed);
        if read.is_err() || sum_of(&bytes) != fence.sum {
            tracing::error!(path = %self.path.display(), "an index of decisions is damaged; a restart makes it again");
            self.damaged.store(true, Ordering::Relaxed);
            return vec![];
        }
        let entry =
            |mut bytes: &[u8]| Entry { prefix: bytes.get_u64(), segment: bytes.get_u32(), place: bytes.get_u32() };
        bytes.chunks_exact(ENTRY).map(entry).collect()
    }

    /// The entries with this prefix.
    pub(crate) fn find(&self, prefix: u64) -> Vec<Entry> {
        // The block before may end with the same.
        let start = self.fences.partition_point(|fence| fence.first < prefix).saturating_sub(1);
        let near = self.fences.iter().enumerate().skip(start).take_while(|(_, fence)| fence.first <= prefix);
        near.flat_map(|(at, _)| self.block(at)).filter(|entry| entry.prefix == prefix).collect()
    }

    pub(crate) fn ascending(self: &Arc<Self>) -> impl Iterator<Item = Entry> + use<> {
        let run = self.clone();
        (0..run.fences.len()).flat_map(move |at| run.block(at))
    }

    /// The entries of these classes whose prefix is at most `most`, the greatest first. Blocks without such a class are
    /// not read.
    pub(crate) fn descending(self: &Arc<Self>, most: u64, classes: u8) -> impl Iterator<Item = Entry> + use<> {
        let run = self.clone();
        let blocks = run.fences.partition_point(|fence| fence.first <= most);
        let wanted = move |entry: &Entry| entry.prefix <= most && class_bit(entry.class()) & classes != 0;
        (0..blocks).rev().flat_map(move |at| {
            let is_wanted = run.fences.get(at).is_some_and(|fence| fence.classes & classes != 0);
            let block = if is_wanted { run.block(at) } else { vec![] };
            block.into_iter().rev().filter(wanted)
        })
    }
}

/// Writes a run, entry by entry in order.
pub(crate) struct RunWriter {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    block: Vec<u8>,
    fence: Option<Fence>,
    fences: Vec<Fence>,
}

impl RunWriter {
    pub(crate) fn new(path: &Path) -> Result<Self, DiskError> {
        let temporary = path.with_added_extension("new");
        let _from_an_earlier_attempt = std::fs::remove_file(&temporary);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let file = BufWriter::with_capacity(1 << 16, file.map_err(DiskError::io(&temporary))?);
        Ok(Self { path: path.to_owned(), temporary, file, block: vec![], fence: None, fences: vec![] })
    }

    pub(crate) fn push(&mut self, entry: Entry) -> Result<(), DiskError> {
        let fence = self.fence.get_or_insert(Fence { first: entry.prefix, classes: 0, sum: [0; 8] });
        fence.classes |= class_bit(entry.class());
        self.block.put_u64(entry.prefix);
        self.block.put_u32(entry.segment);
        self.block.put_u32(entry.place);
        if self.block.len() == BLOCK * ENTRY { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), DiskError> {
        if let Some(fence) = self.fence.take() {
            self.fences.push(Fence { sum: sum_of(&self.block), ..fence });
            self.file.write_all(&self.block).map_err(DiskError::io(&self.temporary))?;
            self.block.clear();
        }
        Ok(())
    }

    pub(crate) fn finish(mut self, spans: Vec<Span>) -> Result<Run, DiskError> {
        self.end_block()?;
        let mut footer = vec![];
        footer.put_u32(spans.len() as u32);
        for span in spans {
            footer.put_u32(span.segment);
            footer.put_u64(span.from);
            footer.put_u64(span.to);
            footer.put_u64(span.entries);
        }
        for fence in &self.fences {
            footer.put_u64(fence.first);
            footer.put_u8(fence.classes);
            footer.put_slice(&fence.sum);
        }
        let (length, sum) = (footer.len() as u64, sum_of(&footer));
        footer.put_u64(length);
        footer.put_slice(&sum);
        footer.put_slice(MAGIC);
        let written = self.file.write_all(&footer).and_then(|()| self.file.flush());
        // It can be made again, so a sync that fails is no more than that.
        written.and_then(|()| self.file.get_ref().sync_data()).map_err(DiskError::io(&self.temporary))?;
        std::fs::rename(&self.temporary, &self.path).map_err(DiskError::io(&self.path))?;
        let what = "an index that was just written is not readable";
        Run::open(&self.path).ok_or_else(|| DiskError::Damaged { path: self.path.clone(), what })
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        // Gone by its name if it was finished.
        let _removed = std::fs::remove_file(&self.temporary);
    }
}

fn sum_of(bytes: &[u8]) -> [u8; 8] {
    digest(&SHA256, bytes).as_ref().first_chunk::<8>().copied().unwrap_or_default()
}
