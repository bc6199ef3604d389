//! One log on disk: a single writer, batches behind one fsync, and the same path for running and recovering.
//!
//! Order of a batch: write-ahead file durable → callers hear their index → tiles → signed checkpoint. A
//! checkpoint covers only what the write-ahead file or durable tiles hold, so after a crash the log is replayed
//! to at least every published checkpoint. Under load several batches share one publication: tiles and
//! checkpoint follow an entry within 100 ms.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use sekisho_ledger::{Bundle, Hash, NoteSigner, TILE_WIDTH, inclusion_path};
use sekisho_ports::is_simulated;
use sekisho_types::Signer;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use crate::DiskError;
use crate::atomic::private_folder;
use crate::disk::Disk;
use crate::folder_lock::lock_folder;
use crate::ledger_entry::{Append, Appended, BATCH_BYTES, NewEntry, Recovered, TileSchedule};
use crate::ledger_files::{erase_side, has_side, read_entries, read_tile, restore_frontier};

mod published;
mod writer;

use writer::{LogLocation, Writer};

/// The write-ahead file is emptied into durable tiles above this size.
const WAL_BYTES: u64 = 8 * 1024 * 1024;

/// How long tiles and checkpoint may lag behind the write-ahead file.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// The way to the writer: a thread, or a task of a simulated machine.
#[derive(Clone)]
enum Appends {
    Thread(Sender<Append>),
    Task(UnboundedSender<Append>),
}

impl Appends {
    /// Whether the writer still takes entries.
    fn send(&self, append: Append) -> bool {
        match self {
            Self::Thread(thread) => thread.send(append).is_ok(),
            Self::Task(task) => task.send(append).is_ok(),
        }
    }
}

/// A handle to the log; cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    folder: PathBuf,
    appends: Appends,
    /// The newest signed checkpoint and the size that it covers.
    published: watch::Receiver<(u64, Arc<str>)>,
    verifier: Arc<str>,
}

impl Ledger {
    /// Opens or makes the log at `folder`. Refuses one that another process writes, one that is damaged and
    /// one that does not fit its own last checkpoint.
    pub fn open(folder: &Path, origin: &str, key: Arc<dyn Signer>) -> Result<(Self, Recovered), DiskError> {
        Self::open_with(folder, origin, key, WAL_BYTES)
    }

    /// Like [`Ledger::open`], emptying the write-ahead file above `wal_bytes`.
    pub fn open_with(
        folder: &Path,
        origin: &str,
        key: Arc<dyn Signer>,
        wal_bytes: u64,
    ) -> Result<(Self, Recovered), DiskError> {
        let pace = TileSchedule { publish_every: PUBLISH_EVERY, wal_bytes };
        Self::open_on(Disk::of_machine(), folder, origin, key, pace)
    }

    fn open_on(
        disk: Disk,
        folder: &Path,
        origin: &str,
        key: Arc<dyn Signer>,
        pace: TileSchedule,
    ) -> Result<(Self, Recovered), DiskError> {
        private_folder(folder)?;
        let lock = lock_folder(folder)?;
        let signer = NoteSigner::new(origin, key.as_ref()).map_err(|e| DiskError::Rule(e.to_string()))?;
        let verifier: Arc<str> = signer.key().to_string().into();
        let location = LogLocation { disk, folder, origin, pace };
        let (writer, recovered, published) = Writer::recover(location, key.clone(), &verifier, lock)?;
        let appends = if is_simulated() {
            let (appends, queue) = unbounded_channel();
            tokio::spawn(writer.run_as_task(queue));
            Appends::Task(appends)
        } else {
            let (appends, queue) = channel();
            let thread = std::thread::Builder::new().name("ledger".into());
            thread.spawn(move || writer.run(&queue)).map_err(DiskError::io(folder))?;
            Appends::Thread(appends)
        };
        Ok((Self { folder: folder.to_owned(), appends, published, verifier }, recovered))
    }

    /// Appends entries, one behind the other, and returns the index of the first. Durable when this returns; if one
    /// cannot be an entry, none is appended.
    pub async fn append(&self, entries: Vec<NewEntry>) -> Appended {
        self.append_numbered(entries, vec![]).await
    }

    /// Appends leaves of an outbox, each once: the batch that makes them durable says their numbers, and one whose
    /// number is not above all before is left out. Numbers ascend and are never used twice (decisions/0042).
    pub async fn append_once(&self, leaves: Vec<(i64, NewEntry)>) -> Result<(), Arc<DiskError>> {
        let (numbers, entries) = leaves.into_iter().unzip();
        self.append_numbered(entries, numbers).await.map(drop)
    }

    async fn append_numbered(&self, entries: Vec<NewEntry>, numbers: Vec<i64>) -> Appended {
        if entries.iter().any(|entry| entry.leaf.len() > sekisho_ledger::MAX_LEAF_BYTES) {
            return Err(Arc::new(DiskError::Rule("a leaf is longer than 65535 bytes".into())));
        }
        if entries.iter().map(|entry| entry.leaf.len() + entry.side.len() + 8).sum::<usize>() > BATCH_BYTES {
            return Err(Arc::new(DiskError::Rule("more than 4 MiB cannot be appended at once".into())));
        }
        let stopped = || Arc::new(DiskError::Stopped("the ledger's writer is gone".into()));
        let (done, wait) = oneshot::channel();
        self.send(Append { entries, numbers, settle: false, done })?;
        wait.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Empties the write-ahead file.
    fn settle(&self) -> Result<oneshot::Receiver<Appended>, Arc<DiskError>> {
        let (done, wait) = oneshot::channel();
        self.send(Append { entries: vec![], numbers: vec![], settle: true, done })?;
        Ok(wait)
    }

    fn send(&self, append: Append) -> Result<(), Arc<DiskError>> {
        let stopped = || Arc::new(DiskError::Stopped("the ledger's writer is gone".into()));
        self.appends.send(append).then_some(()).ok_or_else(stopped)
    }

    /// The key to verify this log with, as `name+hash+base64`.
    pub fn verifier(&self) -> &str {
        &self.verifier
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The newest signed checkpoint.
    pub fn checkpoint(&self) -> Arc<str> {
        self.published.borrow().1.clone()
    }

    pub fn size(&self) -> u64 {
        self.published.borrow().0
    }

    /// A signed checkpoint that covers entry `index`, awaited if it is being written, and its size.
    pub async fn checkpoint_covering(&self, index: u64) -> Result<(u64, Arc<str>), DiskError> {
        let mut published = self.published.clone();
        let covering = published.wait_for(|(size, _)| *size > index).await;
        covering.map(|found| found.clone()).map_err(|_| DiskError::Stopped("the ledger's writer is gone".into()))
    }

    /// Entry `index` in a tree of `size`. Reads files.
    pub fn entry(&self, index: u64, size: u64) -> Option<NewEntry> {
        let at = usize::try_from(index % TILE_WIDTH).ok()?;
        read_entries(&self.folder, index / TILE_WIDTH, size)?.into_iter().nth(at)
    }

    /// All entries of bundle `number`, the entries from `number` × 256 on, in a tree of `size`. Reads files.
    pub fn bundle(&self, number: u64, size: u64) -> Option<Vec<NewEntry>> {
        read_entries(&self.folder, number, size)
    }

    /// Erases the side data of these bundles, which are full, wherever it stands; returns for how many of them it was
    /// still there. Nothing that is hashed changes. Writes files and waits for the writer: not for async threads.
    pub fn erase_side(&self, bundles: Range<u64>) -> Result<u64, DiskError> {
        let mut left = vec![];
        for number in bundles {
            if has_side(&self.folder, number)? {
                left.push(number);
            }
        }
        if left.is_empty() {
            return Ok(0);
        }
        // What the write-ahead file holds would be written again by a restart, and can be read in it.
        let stopped = |_| DiskError::Stopped("the ledger's writer is gone".into());
        let refused = |error: Arc<DiskError>| DiskError::Rule(format!("openings were not erased: {error}"));
        let settled = self.settle().map_err(refused)?.blocking_recv().map_err(stopped)?;
        settled.map_err(refused)?;
        left.iter().try_for_each(|number| erase_side(&self.folder, *number))?;
        Ok(left.len() as u64)
    }

    /// The root of the tree when it had `size` entries. Reads files.
    pub fn root(&self, size: u64) -> Option<Hash> {
        (size <= self.size())
            .then(|| restore_frontier(&self.folder, size, self.size()))?
            .map(|frontier| frontier.root())
    }

    /// The inclusion path of entry `index` in the tree of `size`. Reads files.
    pub fn path(&self, index: u64, size: u64) -> Result<Vec<Hash>, DiskError> {
        let tile = |level: u8, number: u64| read_tile(&self.folder, level, number, size);
        let stored = |level: u8, index: u64| Bundle::stored_hash(level, index, tile);
        inclusion_path(index, size, &stored).map_err(|e| DiskError::Rule(e.to_string()))
    }
}

#[cfg(test)]
mod once;
#[cfg(test)]
mod tests;
