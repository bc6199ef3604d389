//! One log on disk: a single writer, batches behind one fsync, and the same path for running and recovering.
//!
//! Order of a batch: write-ahead file durable → callers hear their index → tiles → signed checkpoint. A
//! checkpoint covers only what the write-ahead file or durable tiles hold, so after a crash the log is replayed
//! to at least every checkpoint that anybody saw. Under load several batches share one publication: tiles and
//! checkpoint follow an entry within [`PUBLISH_EVERY`].

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use sekisho_ledger::{Bundle, Checkpoint, Hash, NoteSigner, TILE_WIDTH, TrustPolicy, inclusion_path};
use sekisho_types::Signer;
use tokio::sync::{oneshot, watch};

use crate::DiskError;
use crate::atomic::{private_folder, replace_file, write_atomic};
use crate::ledger_tiles::{Tiles, erase_side, read_entries, read_tile, restore_frontier};
use crate::wal::Wal;

/// Requests in one batch at most.
const MAX_BATCH: usize = 4096;
/// Bytes that end a batch.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Entries in a batch above which the next one is gathered for a moment: many callers wait, and fewer fsyncs serve
/// them as well.
const BUSY: usize = 8;
const GATHER: Duration = Duration::from_millis(1);
/// How long tiles and checkpoint may lag behind the write-ahead file.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// The write-ahead file is emptied into durable tiles above this size.
const WAL_BYTES: u64 = 8 * 1024 * 1024;

/// The index of an entry, or of the first of several.
pub type Appended = Result<u64, Arc<DiskError>>;

/// An entry to be: a leaf, and side data that is kept beside it and not hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    pub leaf: Vec<u8>,
    pub side: Vec<u8>,
}

/// Entries that stand one behind the other in the log.
struct Append {
    entries: Vec<NewEntry>,
    done: oneshot::Sender<Appended>,
}

/// What opening a log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    pub size: u64,
    /// Entries that came from the write-ahead file.
    pub replayed: u64,
}

/// A handle to the log; cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    folder: PathBuf,
    appends: Sender<Append>,
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
        private_folder(folder)?;
        let lock_path = folder.join("lock");
        let lock = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(DiskError::io(&lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| DiskError::InUse(folder.to_owned()))?;
        let signer = NoteSigner::new(origin, key.as_ref()).map_err(|e| DiskError::Rule(e.to_string()))?;
        let verifier: Arc<str> = signer.key().to_string().into();
        let (mut writer, recovered) = Writer::recover(folder, origin, key.clone(), &verifier, lock)?;
        writer.wal_bytes = wal_bytes;
        let (appends, queue) = channel();
        let first = writer.signed_checkpoint()?;
        let (publish, published) = watch::channel((writer.tiles.frontier.size(), Arc::from(first)));
        let thread = std::thread::Builder::new().name("ledger".into());
        thread.spawn(move || writer.run(&queue, publish)).map_err(DiskError::io(folder))?;
        Ok((Self { folder: folder.to_owned(), appends, published, verifier }, recovered))
    }

    /// Appends entries, one behind the other, and returns the index of the first. Durable when this returns; if one
    /// cannot be an entry, none is appended.
    pub async fn append(&self, entries: Vec<NewEntry>) -> Appended {
        if entries.iter().any(|entry| entry.leaf.len() > sekisho_ledger::MAX_LEAF_BYTES) {
            return Err(Arc::new(DiskError::Rule("a leaf is longer than 65535 bytes".into())));
        }
        if entries.iter().map(|entry| entry.leaf.len() + entry.side.len() + 8).sum::<usize>() > BATCH_BYTES {
            return Err(Arc::new(DiskError::Rule("more than 4 MiB cannot be appended at once".into())));
        }
        let (done, wait) = oneshot::channel();
        let stopped = || Arc::new(DiskError::Stopped("the ledger's writer is gone".into()));
        self.appends.send(Append { entries, done }).map_err(|_| stopped())?;
        wait.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The key to verify this log with, as `name+hash+base64`.
    pub fn verifier(&self) -> &str {
        &self.verifier
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

    /// Erases the side data of bundle `number`, which is full; false if that was done before. Nothing that is hashed
    /// changes. Writes files.
    pub fn erase_side(&self, number: u64) -> Result<bool, DiskError> {
        erase_side(&self.folder, number)
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

struct Writer {
    folder: PathBuf,
    origin: String,
    key: Arc<dyn Signer>,
    wal: Wal,
    tiles: Tiles,
    wal_bytes: u64,
    _lock: std::fs::File,
}

impl Writer {
    fn recover(
        folder: &Path,
        origin: &str,
        key: Arc<dyn Signer>,
        verifier: &str,
        lock: std::fs::File,
    ) -> Result<(Self, Recovered), DiskError> {
        let wal_path = folder.join("wal");
        let checkpoint = read_checkpoint(folder, verifier)?;
        let (wal, base, records) = match Wal::open(&wal_path)? {
            Some(found) => found,
            None if checkpoint.is_none() && !folder.join("tile").exists() => {
                (Wal::create(&wal_path, 0, [])?, 0, vec![])
            }
            None => return Err(DiskError::Inconsistent("there are tiles or a checkpoint but no write-ahead file")),
        };
        // The file is begun anew only behind a durable checkpoint.
        if base > 0 && !folder.join("checkpoint").exists() {
            return Err(DiskError::Inconsistent("there is a write-ahead file but no checkpoint"));
        }
        let mut tiles = Tiles::restore(folder, base)?;
        let mut seen = checkpoint.as_ref().filter(|c| c.size <= base).map(|c| older_root(folder, c)).transpose()?;
        for record in &records {
            let (leaf, side) = split_record(record)
                .ok_or_else(|| DiskError::Damaged { path: wal_path.clone(), what: "a record is not an entry" })?;
            tiles.push(leaf, side)?;
            if checkpoint.as_ref().is_some_and(|c| c.size == tiles.frontier.size()) {
                seen = Some(tiles.frontier.root());
            }
        }
        match (&checkpoint, seen) {
            (Some(_), None) => return Err(DiskError::Inconsistent("entries of the checkpoint are missing")),
            (Some(checkpoint), Some(root)) if checkpoint.root != root => {
                return Err(DiskError::Inconsistent("the entries have another root"));
            }
            _ => {}
        }
        let recovered = Recovered { size: tiles.frontier.size(), replayed: records.len() as u64 };
        let mut writer = Self {
            folder: folder.to_owned(),
            origin: origin.to_owned(),
            key,
            wal,
            tiles,
            wal_bytes: WAL_BYTES,
            _lock: lock,
        };
        writer.publish()?;
        Ok((writer, recovered))
    }

    fn run(mut self, queue: &Receiver<Append>, published: watch::Sender<(u64, Arc<str>)>) {
        let result = self.serve(queue, &published);
        // Whoever waits for a checkpoint hears that none will come.
        drop(published);
        let Err(error) = result else { return };
        // The log may not go on behind what it could not write; a restart recovers it.
        tracing::error!(%error, "the ledger stops taking entries; repair the disk and restart");
        while let Ok(append) = queue.recv() {
            let _gone = append.done.send(Err(Arc::new(DiskError::Stopped(error.to_string()))));
        }
    }

    /// Writes batches until the last handle is gone. After a pause a batch is published at once; under load,
    /// publication waits until the last one is [`PUBLISH_EVERY`] ago.
    fn serve(&mut self, queue: &Receiver<Append>, published: &watch::Sender<(u64, Arc<str>)>) -> Result<(), DiskError> {
        let mut due = Instant::now();
        let mut busy = false;
        loop {
            let first = if self.tiles.frontier.size() > published.borrow().0 {
                queue.recv_timeout(due.saturating_duration_since(Instant::now()))
            } else {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let stop = matches!(first, Err(RecvTimeoutError::Disconnected));
            if let Ok(first) = first {
                let batch = gather(first, queue, if busy { GATHER } else { Duration::ZERO });
                busy = batch.iter().map(|append| append.entries.len()).sum::<usize>() > BUSY;
                self.write(batch)?;
            }
            let unpublished = self.tiles.frontier.size() > published.borrow().0;
            if unpublished && (stop || Instant::now() >= due) {
                match self.publish() {
                    Ok(checkpoint) => {
                        published.send_replace((self.tiles.frontier.size(), Arc::from(checkpoint)));
                    }
                    // What is not published is in the write-ahead file.
                    Err(error) if error.is_full() => tracing::error!(%error, "tiles wait for space on the disk"),
                    Err(error) => return Err(error),
                }
                due = Instant::now() + PUBLISH_EVERY;
            }
            if stop {
                return Ok(());
            }
        }
    }

    /// Makes a batch durable and tells its callers. A batch that could not be written is refused whole; the log
    /// goes on behind it unless what stands on disk is unknown.
    fn write(&mut self, batch: Vec<Append>) -> Result<(), DiskError> {
        let records = batch.iter().flat_map(|append| &append.entries);
        let lengths: Vec<[u8; 4]> = records.clone().map(|entry| (entry.leaf.len() as u32).to_be_bytes()).collect();
        let parts = records.zip(&lengths).map(|(entry, length)| [&length[..], &entry.leaf, &entry.side]);
        if let Err(error) = self.wal.append(parts) {
            let error = Arc::new(error);
            for append in batch {
                let _gone = append.done.send(Err(error.clone()));
            }
            return if self.wal.is_broken() { Err(DiskError::Stopped(error.to_string())) } else { Ok(()) };
        }
        for append in batch {
            let first = self.tiles.frontier.size();
            append.entries.iter().try_for_each(|entry| self.tiles.push(&entry.leaf, &entry.side))?;
            let _gone = append.done.send(Ok(first));
        }
        Ok(())
    }

    /// Writes tiles and checkpoint. When the write-ahead file has grown large, makes both durable and empties it;
    /// a checkpoint on disk is so never older than what that file begins with.
    fn publish(&mut self) -> Result<String, DiskError> {
        self.tiles.write()?;
        let checkpoint = self.signed_checkpoint()?;
        let path = self.folder.join("checkpoint");
        if self.wal.len() > self.wal_bytes {
            self.tiles.sync()?;
            write_atomic(&path, checkpoint.as_bytes())?;
            let emptied = Wal::create(&self.folder.join("wal"), self.tiles.frontier.size(), []);
            // The old file may be gone by now, so this failure ends the writer whatever caused it.
            self.wal = emptied.map_err(|error| DiskError::Stopped(error.to_string()))?;
            self.tiles.remove_replaced()?;
        } else {
            replace_file(&path, checkpoint.as_bytes())?;
        }
        Ok(checkpoint)
    }

    fn signed_checkpoint(&self) -> Result<String, DiskError> {
        let frontier = &self.tiles.frontier;
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: frontier.size(), root: frontier.root() };
        let signer = NoteSigner::new(&self.origin, self.key.as_ref()).map_err(|e| DiskError::Rule(e.to_string()))?;
        signer.sign(&checkpoint.to_string()).map_err(|e| DiskError::Rule(e.to_string()))
    }
}

/// What waits behind `first`, and what comes within `wait`.
fn gather(first: Append, queue: &Receiver<Append>, wait: Duration) -> Vec<Append> {
    let until = Instant::now() + wait;
    let size = |append: &Append| append.entries.iter().map(|e| e.leaf.len() + e.side.len() + 8).sum::<usize>();
    let mut bytes = size(&first);
    let mut batch = vec![first];
    while batch.len() < MAX_BATCH && bytes < BATCH_BYTES {
        let Ok(next) =
            queue.try_recv().or_else(|_| queue.recv_timeout(until.saturating_duration_since(Instant::now())))
        else {
            break;
        };
        bytes += size(&next);
        batch.push(next);
    }
    batch
}

/// The last checkpoint on disk, if it is whole and ours. It was not synced, so after a loss of power it may be
/// empty; then the write-ahead file alone says what the log holds.
fn read_checkpoint(folder: &Path, verifier: &str) -> Result<Option<Checkpoint>, DiskError> {
    let path = folder.join("checkpoint");
    let note = match std::fs::read(&path) {
        // What a loss of power may leave of a file that was not synced.
        Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => return Ok(None),
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::io(&path)(error)),
    };
    let policy = TrustPolicy::parse(&format!("log {verifier}\nquorum none\n"));
    let checked = policy.and_then(|policy| policy.verify(&note));
    checked.map(Some).map_err(|_| DiskError::Inconsistent("the checkpoint is not signed by this log's key"))
}

fn older_root(folder: &Path, checkpoint: &Checkpoint) -> Result<Hash, DiskError> {
    let frontier = restore_frontier(folder, checkpoint.size, checkpoint.size);
    frontier.map(|f| f.root()).ok_or(DiskError::Inconsistent("tiles of the checkpoint are missing"))
}

fn split_record(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = record.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests;
