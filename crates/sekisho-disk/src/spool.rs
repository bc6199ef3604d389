//! A bounded durable queue: records that must reach the server and may have to wait for it (law L5).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::DiskError;
use crate::atomic::{replace_file, write_atomic};
use crate::wal::Wal;

/// Most bytes in one batch, well below what one message may carry.
const BATCH_BYTES: usize = 1024 * 1024;
/// Above this the file is rewritten with what still waits.
const FILE_BYTES: u64 = 1024 * 1024;

/// A batch to be sent: the position of its first record, and what was lost before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolBatch {
    pub first: u64,
    pub records: Vec<Bytes>,
    /// Records lost since the spool was made: a total, so that telling it twice counts nothing twice.
    pub lost: u64,
}

struct State {
    wal: Wal,
    /// Position of the first record in `pending`.
    first: u64,
    pending: VecDeque<Bytes>,
    bytes: usize,
    lost: u64,
    /// How many of those the server has heard of in this run.
    told: u64,
}

/// A spool in one folder; cheap to clone.
#[derive(Clone)]
pub struct Spool {
    folder: PathBuf,
    id: Arc<str>,
    max_bytes: usize,
    state: Arc<Mutex<State>>,
    filled: Arc<Notify>,
}

impl Spool {
    /// Opens the spool at `folder`, with what an earlier run left in it. A new spool takes `new_id` as its name
    /// for ever.
    pub fn open(folder: &Path, max_bytes: usize, new_id: &str) -> Result<Self, DiskError> {
        crate::private_folder(folder)?;
        let id_path = folder.join("id");
        if !id_path.exists() {
            write_atomic(&id_path, new_id.as_bytes())?;
        }
        let id: Arc<str> = std::fs::read_to_string(&id_path).map_err(DiskError::io(&id_path))?.into();
        let path = folder.join("spool");
        let (wal, base, records) = match Wal::open(&path)? {
            Some(found) => found,
            None => (Wal::create(&path, 0, [])?, 0, vec![]),
        };
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let acknowledged = read("acknowledged").unwrap_or(base).max(base);
        let skip = usize::try_from(acknowledged - base).unwrap_or(usize::MAX);
        let pending: VecDeque<Bytes> = records.into_iter().skip(skip).map(Bytes::from).collect();
        let bytes = pending.iter().map(Bytes::len).sum();
        let state = State { wal, first: acknowledged, pending, bytes, lost: read("lost").unwrap_or(0), told: 0 };
        let filled = Arc::new(Notify::new());
        filled.notify_one();
        Ok(Self { folder: folder.to_owned(), id, max_bytes, state: Arc::new(Mutex::new(state)), filled })
    }

    /// Appends records; durable on return. Above the bound they are counted as lost, and the count is kept.
    /// Returns how many were kept. Writes a file: not for async threads.
    pub fn append(&self, records: &[Bytes]) -> Result<usize, DiskError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = self.max_bytes.saturating_sub(state.bytes);
        let fits = |record: &&Bytes| {
            let fits = record.len() <= room;
            room = room.saturating_sub(record.len());
            fits
        };
        let kept: Vec<&Bytes> = records.iter().take_while(fits).collect();
        let written =
            if kept.is_empty() { Ok(()) } else { state.wal.append(kept.iter().map(|record| [record.as_ref()])) };
        let count = if written.is_ok() { kept.len() } else { 0 };
        // What is in the file is in memory before anything else can fail.
        for record in kept.into_iter().take(count) {
            state.bytes += record.len();
            state.pending.push_back(record.clone());
        }
        let mut counted = Ok(());
        if count < records.len() {
            state.lost += (records.len() - count) as u64;
            counted = write_atomic(&self.folder.join("lost"), state.lost.to_string().as_bytes());
        }
        drop(state);
        self.filled.notify_one();
        written.and(counted).map(|()| count)
    }

    /// Waits until there is something to send, and returns the oldest of it, at most `max` records.
    pub async fn next_batch(&self, max: usize) -> SpoolBatch {
        loop {
            let filled = self.filled.notified();
            // Who appends holds the lock while it waits for the disk.
            if let Ok(Some(batch)) = self.on_disk(move |spool| Ok(spool.oldest(max))).await {
                return batch;
            }
            filled.await;
        }
    }

    fn oldest(&self, max: usize) -> Option<SpoolBatch> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pending.is_empty() && state.lost <= state.told {
            return None;
        }
        let mut bytes = 0;
        let fits = |record: &&Bytes| {
            bytes += record.len();
            // The first record goes alone if it must.
            bytes <= BATCH_BYTES || bytes == record.len()
        };
        let records = state.pending.iter().take(max).take_while(fits).cloned().collect();
        Some(SpoolBatch { first: state.first, records, lost: state.lost })
    }

    /// Forgets a batch that the server has made durable.
    pub fn acknowledge(&self, batch: &SpoolBatch) -> Result<(), DiskError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..batch.records.len() {
            let gone = state.pending.pop_front().map_or(0, |record| record.len());
            state.bytes = state.bytes.saturating_sub(gone);
        }
        state.first += batch.records.len() as u64;
        state.told = state.told.max(batch.lost);
        if state.wal.len() > FILE_BYTES + 2 * state.bytes as u64 {
            let waiting = state.pending.iter().map(AsRef::as_ref);
            let emptied = Wal::create(&self.folder.join("spool"), state.first, waiting);
            // The old file may be gone from its name by now: what went on into it would not be found again.
            state.wal = emptied.inspect_err(|_| state.wal.give_up())?;
            return Ok(());
        }
        // If this is forgotten, the batch goes once more and the server knows it by its key.
        replace_file(&self.folder.join("acknowledged"), state.first.to_string().as_bytes())
    }

    /// Gives up a batch that will never be taken: its records are counted as lost.
    pub fn discard(&self, batch: &SpoolBatch) -> Result<(), DiskError> {
        let counted = self.count_lost(batch.records.len() as u64);
        self.acknowledge(batch).and(counted)
    }

    /// Counts records that were lost before they reached the spool. On failure they are counted all the same, until the
    /// process ends.
    pub fn count_lost(&self, records: u64) -> Result<(), DiskError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lost += records;
        write_atomic(&self.folder.join("lost"), state.lost.to_string().as_bytes())?;
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The key of a batch: the same records after a crash have the same key, so they are recorded once.
    pub fn key(&self, batch: &SpoolBatch) -> String {
        format!("{}:{}", self.id, batch.first)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Records waiting, and records lost that the server has not heard of.
    pub fn depth(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.pending.len() as u64, state.lost - state.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(range: std::ops::Range<u32>) -> Vec<Bytes> {
        range.map(|n| format!("record {n:04}").into()).collect()
    }

    #[tokio::test]
    async fn law_l5_what_is_not_acknowledged_survives_and_what_is_lost_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), 1000, "spool").unwrap();
        assert_eq!(spool.append(&texts(0..50)).unwrap(), 50);
        assert_eq!(spool.append(&texts(50..200)).unwrap(), 40);
        let batch = spool.next_batch(60).await;
        assert_eq!((batch.first, batch.records.len(), batch.lost), (0, 60, 110));
        spool.acknowledge(&batch).unwrap();
        drop(spool);
        let again = Spool::open(folder.path(), 1000, "spool").unwrap();
        let batch = again.next_batch(100).await;
        assert_eq!((batch.first, batch.records.len(), batch.lost), (60, 30, 110));
        assert_eq!(batch.records[0], "record 0060");
        again.acknowledge(&batch).unwrap();
        assert_eq!(again.depth(), (0, 0));
    }
}
