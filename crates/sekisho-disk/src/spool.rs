//! A bounded durable queue: records that must reach the server and may have to wait for it (law L5).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::DiskError;
use crate::disk::{Disk, replace_file};
use crate::wal::{Part, Wal, salvage};

/// Most bytes in one batch, well below what one message may carry.
const BATCH_BYTES: usize = 1024 * 1024;
/// Names of files: up to where records are acknowledged, and of how many losses the server has heard; how many were
/// lost.
const ACKNOWLEDGED: &str = "acknowledged";
const LOST: &str = "lost";
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
    /// How many of those the server has heard of.
    reported: u64,
}

impl State {
    /// Begins the file anew with what waits.
    fn rewrite(&mut self) -> Result<(), DiskError> {
        self.wal.restart_file(self.first, self.pending.iter().map(AsRef::as_ref))
    }

    fn append(&mut self, records: &[&Bytes]) -> Result<(), DiskError> {
        // A sync failed: what waits is in memory, and goes to a new file first.
        if self.wal.is_broken() {
            self.rewrite()?;
        }
        self.wal.append(records.iter().map(|record| [record.as_ref()]))
    }
}

/// What is known of a damaged spool beside its file: up to where it was acknowledged, and losses of which the server
/// has not heard.
struct SpoolMarks {
    acknowledged: Option<u64>,
    unheard: u64,
}

/// Makes a new spool of what can be read of a damaged one. Positions are not sure behind damage, and the server takes
/// no position twice: so the new one has a name of its own. What was sent and not acknowledged is recorded once more.
fn recover_readable(disk: &Disk, folder: &Path, new_id: &str, known: SpoolMarks) -> Result<State, DiskError> {
    let path = folder.join("spool");
    let file = std::fs::read(&path).map_err(DiskError::io(&path))?;
    let (base, parts) = salvage(&file);
    let acknowledged = known.acknowledged.or(base).unwrap_or(0);
    let (mut position, mut pending, mut lost) = (base, VecDeque::new(), known.unheard);
    for part in parts {
        let count = match &part {
            Part::Records(records) => Some(records.len() as u64),
            Part::Lost(count) => *count,
        };
        let old = position.map_or(0, |position| acknowledged.saturating_sub(position).min(count.unwrap_or(0)));
        match part {
            Part::Records(records) => {
                let skip = usize::try_from(old).unwrap_or(usize::MAX);
                pending.extend(records.into_iter().skip(skip).map(Bytes::copy_from_slice));
            }
            // At least one, where nothing tells how many.
            Part::Lost(count) => lost += count.unwrap_or(1) - old,
        }
        position = position.and_then(|position| position.checked_add(count?));
    }
    let damaged = folder.join("spool.damaged");
    tracing::error!(kept = pending.len(), lost, file = %damaged.display(), "a spool is damaged; its file is set aside");
    // Until the last step the damage is found again by a restart.
    disk.write_atomic(&damaged, &file)?;
    disk.write_atomic(&folder.join(LOST), lost.to_string().as_bytes())?;
    disk.write_atomic(&folder.join(ACKNOWLEDGED), b"0 0")?;
    disk.write_atomic(&folder.join("id"), new_id.as_bytes())?;
    let wal = Wal::create(disk, &path, 0, pending.iter().map(AsRef::as_ref))?;
    Ok(State { wal, first: 0, pending, bytes: 0, lost, reported: 0 })
}

/// A spool in one folder; cheap to clone.
#[derive(Clone)]
pub struct Spool {
    disk: Disk,
    folder: PathBuf,
    id: Arc<str>,
    max_bytes: usize,
    state: Arc<Mutex<State>>,
    filled: Arc<Notify>,
}

impl Spool {
    /// Opens the spool at `folder`, with what an earlier run left in it. A new spool is named `new_id`, and keeps that
    /// name. So is one whose file is damaged: what is readable is taken, what is not is counted as lost, and the file
    /// is kept as `spool.damaged`.
    pub fn open(folder: &Path, max_bytes: usize, new_id: &str) -> Result<Self, DiskError> {
        Self::open_on(Disk::of_machine(), folder, max_bytes, new_id)
    }

    fn open_on(disk: Disk, folder: &Path, max_bytes: usize, new_id: &str) -> Result<Self, DiskError> {
        crate::private_folder(folder)?;
        let id_path = folder.join("id");
        let mut id = std::fs::read_to_string(&id_path).unwrap_or_default();
        if id.is_empty() {
            new_id.clone_into(&mut id);
            disk.write_atomic(&id_path, id.as_bytes())?;
        }
        let path = folder.join("spool");
        let numbers = |name: &str| {
            let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            text.split_whitespace().map_while(|word| word.parse().ok()).collect::<Vec<u64>>()
        };
        let (acknowledged, lost) = (numbers(ACKNOWLEDGED), numbers(LOST).first().copied().unwrap_or(0));
        let reported = acknowledged.get(1).copied().unwrap_or(0);
        // A count that could not be written was reported all the same: a total never falls, or later losses would hide
        // behind those of which the server has heard.
        let lost = lost.max(reported);
        let found = match Wal::open(&disk, &path) {
            Err(DiskError::Damaged { .. }) => {
                let known = SpoolMarks { acknowledged: acknowledged.first().copied(), unheard: lost - reported };
                new_id.clone_into(&mut id);
                let state = recover_readable(&disk, folder, new_id, known)?;
                return Ok(Self::with(disk, folder, max_bytes, &id, state));
            }
            found => found?,
        };
        let (wal, base, records) = match found {
            Some(found) => found,
            None => (Wal::create(&disk, &path, 0, [])?, 0, vec![]),
        };
        let first = acknowledged.first().copied().unwrap_or(base).max(base);
        let skip = usize::try_from(first - base).unwrap_or(usize::MAX);
        let pending: VecDeque<Bytes> = records.into_iter().skip(skip).map(Bytes::from).collect();
        Ok(Self::with(disk, folder, max_bytes, &id, State { wal, first, bytes: 0, pending, lost, reported }))
    }

    fn with(disk: Disk, folder: &Path, max_bytes: usize, id: &str, mut state: State) -> Self {
        state.bytes = state.pending.iter().map(Bytes::len).sum();
        let filled = Arc::new(Notify::new());
        filled.notify_one();
        let (folder, id, state) = (folder.to_owned(), id.into(), Arc::new(Mutex::new(state)));
        Self { disk, folder, id, max_bytes, state, filled }
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
        let written = if kept.is_empty() { Ok(()) } else { state.append(&kept) };
        let count = if written.is_ok() { kept.len() } else { 0 };
        // What is in the file is in memory before anything else can fail.
        for record in kept.into_iter().take(count) {
            state.bytes += record.len();
            state.pending.push_back(record.clone());
        }
        let mut counted = Ok(());
        if count < records.len() {
            state.lost += (records.len() - count) as u64;
            counted = self.disk.write_atomic(&self.folder.join(LOST), state.lost.to_string().as_bytes());
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
        if state.pending.is_empty() && state.lost <= state.reported {
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
        state.reported = state.reported.max(batch.lost);
        if state.wal.len() > FILE_BYTES + 2 * state.bytes as u64 {
            state.rewrite()?;
        }
        // If this is forgotten, the batch is sent once more and the server knows it by its key.
        let text = format!("{} {}", state.first, state.reported);
        replace_file(&self.folder.join(ACKNOWLEDGED), text.as_bytes()).map(drop)
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
        self.disk.write_atomic(&self.folder.join(LOST), state.lost.to_string().as_bytes())?;
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
        (state.pending.len() as u64, state.lost - state.reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::lossy::{LossyDisk, Unsynced};

    fn texts(range: std::ops::Range<u32>) -> Vec<Bytes> {
        range.map(|n| format!("record {n:04}").into()).collect()
    }

    #[tokio::test]
    async fn after_a_failed_sync_the_spool_continues() {
        for unsynced in [Unsynced::Kept, Unsynced::Lost] {
            let folder = tempfile::tempdir().unwrap();
            let (live, after) = (folder.path().join("live"), folder.path().join("after"));
            let lossy = Arc::new(LossyDisk::default());
            let spool = Spool::open_on(Disk::of(lossy.clone()), &live, 10_000, "spool").unwrap();
            assert_eq!(spool.append(&texts(0..5)).unwrap(), 5);
            lossy.fail(0, rustix::io::Errno::IO.raw_os_error());
            assert!(spool.append(&texts(5..8)).is_err());
            // The disk is there again, and so is the spool: no restart.
            assert_eq!(spool.append(&texts(8..10)).unwrap(), 2);
            lossy.lose_power(&live, &after, unsynced).unwrap();
            let again = Spool::open(&after, 10_000, "another").unwrap();
            let batch = again.next_batch(100).await;
            assert_eq!((batch.records, batch.lost), ([texts(0..5), texts(8..10)].concat(), 3));
            assert_eq!(again.key(&SpoolBatch { first: 0, records: vec![], lost: 0 }), "spool:0");
        }
    }

    #[tokio::test]
    async fn a_total_of_losses_never_falls() {
        let folder = tempfile::tempdir().unwrap();
        let lossy = Arc::new(LossyDisk::default());
        let open = || Spool::open_on(Disk::of(lossy.clone()), folder.path(), 10_000, "spool").unwrap();
        let spool = open();
        lossy.fail(0, rustix::io::Errno::IO.raw_os_error());
        assert!(spool.count_lost(2).is_err());
        let batch = spool.next_batch(100).await;
        assert_eq!(batch.lost, 2);
        spool.acknowledge(&batch).unwrap();
        drop(spool);
        // The server counts what is beyond that.
        let spool = open();
        assert_eq!(spool.depth(), (0, 0));
        spool.count_lost(1).unwrap();
        assert_eq!((spool.depth(), spool.next_batch(100).await.lost), ((0, 1), 3));
    }

    #[tokio::test]
    async fn records_around_damage_are_sent() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), 100_000, "spool").unwrap();
        for first in (0..50).step_by(10) {
            spool.append(&texts(first..first + 10)).unwrap();
        }
        spool.acknowledge(&spool.next_batch(15).await).unwrap();
        drop(spool);
        let path = folder.path().join("spool");
        let whole = std::fs::read(&path).unwrap();
        let at = |text: &str| whole.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        // A record's text, its length and its frame's length: behind the last two nothing tells how many are lost. One
        // that was acknowledged is not a loss. Without the file's head all are sent again.
        let in_doubt = [(at("record 0023") - 2, 1, 25), (at("record 0020") - 13, 1, 25), (3, 1, 50)];
        for (position, lost, left) in
            [(at("record 0023"), 10, 25), (at("record 0003"), 0, 35)].into_iter().chain(in_doubt)
        {
            let mut damaged = whole.clone();
            damaged[position] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            std::fs::write(folder.path().join("acknowledged"), "15 0").unwrap();
            let again = Spool::open(folder.path(), 100_000, "another").unwrap();
            let batch = again.next_batch(100).await;
            assert_eq!(again.key(&batch), "another:0");
            assert_eq!(batch.records.last().unwrap(), "record 0049");
            assert_eq!((batch.lost, batch.records.len()), (lost, left), "damage at {position}");
            assert_eq!(std::fs::read(folder.path().join("spool.damaged")).unwrap(), damaged);
            drop(again);
            // And a second start finds nothing to count.
            assert_eq!(Spool::open(folder.path(), 100_000, "third").unwrap().next_batch(100).await, batch);
            std::fs::write(folder.path().join("lost"), "0").unwrap();
        }
    }

    #[tokio::test]
    async fn law_l5_unacknowledged_records_survive_and_losses_are_counted() {
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
