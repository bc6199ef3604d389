//! One log on disk: a single writer, batches behind one fsync, and the same path for running and recovering.
//!
//! Order of a batch: write-ahead file durable → callers hear their index → tiles → signed checkpoint. A
//! checkpoint covers only what the write-ahead file or durable tiles hold, so after a crash the log is replayed
//! to at least every checkpoint that anybody saw.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::fs::{FlockOperation, flock};
use sekisho_ledger::{Bundle, Checkpoint, Hash, NoteSigner, TrustPolicy, inclusion_path};
use sekisho_types::Signer;
use tokio::sync::{oneshot, watch};

use crate::DiskError;
use crate::atomic::private_folder;
use crate::ledger_tiles::{Tiles, read_entry, read_tile, restore_frontier};
use crate::wal::Wal;

/// Most entries in one batch.
const MAX_BATCH: usize = 4096;
/// The write-ahead file is emptied into durable tiles above this size.
const WAL_BYTES: u64 = 8 * 1024 * 1024;

/// Where an entry was put.
pub type Appended = Result<u64, Arc<DiskError>>;

struct Append {
    leaf: Vec<u8>,
    side: Vec<u8>,
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
        let lock = std::fs::File::create(&lock_path).map_err(DiskError::io(&lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| DiskError::InUse(folder.to_owned()))?;
        let signer = NoteSigner::new(origin, key.as_ref()).map_err(|e| DiskError::Rule(e.to_string()))?;
        let verifier: Arc<str> = signer.key().to_string().into();
        let (mut writer, recovered) = Writer::recover(folder, origin, key.clone(), &verifier, lock)?;
        writer.wal_bytes = wal_bytes;
        let (appends, queue) = channel();
        let first = writer.signed_checkpoint()?;
        let (publish, published) = watch::channel((writer.tiles.frontier.size(), Arc::from(first)));
        let thread = std::thread::Builder::new().name("ledger".into());
        thread.spawn(move || writer.run(&queue, &publish)).map_err(DiskError::io(folder))?;
        Ok((Self { folder: folder.to_owned(), appends, published, verifier }, recovered))
    }

    /// Appends an entry with side data that is kept beside it. Durable when this returns.
    pub async fn append(&self, leaf: Vec<u8>, side: Vec<u8>) -> Appended {
        let (done, wait) = oneshot::channel();
        let stopped = || Arc::new(DiskError::Stopped("the ledger's writer is gone".into()));
        self.appends.send(Append { leaf, side, done }).map_err(|_| stopped())?;
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

    /// Entry `index` and its side data, in a tree of `size`. Reads files.
    pub fn entry(&self, index: u64, size: u64) -> Option<(Vec<u8>, Vec<u8>)> {
        read_entry(&self.folder, index, size)
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
            None if checkpoint.is_none() => (Wal::create(&wal_path, 0, &[])?, 0, vec![]),
            None => return Err(DiskError::Inconsistent("there is a checkpoint but no write-ahead file")),
        };
        let mut tiles = Tiles::restore(folder, base)?;
        let mut seen = checkpoint.as_ref().filter(|c| c.size <= base).map(|c| older_root(folder, c)).transpose()?;
        for record in &records {
            let (leaf, side) = split_record(record)
                .ok_or_else(|| DiskError::Damaged { path: wal_path.clone(), what: "a record is no entry" })?;
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

    fn run(mut self, queue: &Receiver<Append>, published: &watch::Sender<(u64, Arc<str>)>) {
        let mut failed: Option<Arc<DiskError>> = None;
        while let Ok(first) = queue.recv() {
            let mut batch = vec![first];
            batch.extend(queue.try_iter().take(MAX_BATCH - 1));
            if let Some(error) = &failed {
                for append in batch {
                    let _gone = append.done.send(Err(Arc::new(DiskError::Stopped(error.to_string()))));
                }
                continue;
            }
            match self.write(batch).and_then(|()| self.publish()) {
                Ok(checkpoint) => {
                    published.send_replace((self.tiles.frontier.size(), Arc::from(checkpoint)));
                }
                Err(error) => {
                    // The log may not go on behind what it could not write; a restart recovers it.
                    tracing::error!(%error, "the ledger stops taking entries; mend the disk and restart");
                    failed = Some(Arc::new(error));
                }
            }
        }
    }

    /// Makes a batch durable and tells its callers. A batch that could not be written is refused whole.
    fn write(&mut self, batch: Vec<Append>) -> Result<(), DiskError> {
        let (fit, unfit): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|a| a.leaf.len() <= sekisho_ledger::MAX_LEAF_BYTES);
        for append in unfit {
            let _gone = append.done.send(Err(Arc::new(DiskError::Rule("a leaf is longer than 65535 bytes".into()))));
        }
        let records: Vec<Vec<u8>> = fit.iter().map(|append| join_record(&append.leaf, &append.side)).collect();
        if let Err(error) = self.wal.append(records.iter().map(Vec::as_slice)) {
            let error = Arc::new(error);
            for append in fit {
                let _gone = append.done.send(Err(error.clone()));
            }
            return Err(DiskError::Stopped(error.to_string()));
        }
        for append in fit {
            let index = self.tiles.push(&append.leaf, &append.side)?;
            let _gone = append.done.send(Ok(index));
        }
        Ok(())
    }

    /// Writes tiles and checkpoint, and empties a write-ahead file that has grown large.
    fn publish(&mut self) -> Result<String, DiskError> {
        self.tiles.write()?;
        if self.wal.len() > self.wal_bytes {
            self.tiles.sync()?;
            self.wal = Wal::create(&self.folder.join("wal"), self.tiles.frontier.size(), &[])?;
            self.tiles.remove_replaced()?;
        }
        let checkpoint = self.signed_checkpoint()?;
        let (path, temporary) = (self.folder.join("checkpoint"), self.folder.join("checkpoint.new"));
        std::fs::write(&temporary, &checkpoint).map_err(DiskError::io(&temporary))?;
        std::fs::rename(&temporary, &path).map_err(DiskError::io(&path))?;
        Ok(checkpoint)
    }

    fn signed_checkpoint(&self) -> Result<String, DiskError> {
        let frontier = &self.tiles.frontier;
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: frontier.size(), root: frontier.root() };
        let signer = NoteSigner::new(&self.origin, self.key.as_ref()).map_err(|e| DiskError::Rule(e.to_string()))?;
        signer.sign(&checkpoint.to_string()).map_err(|e| DiskError::Rule(e.to_string()))
    }
}

/// The last checkpoint on disk, if it is whole and ours. It was not synced, so after a loss of power it may be
/// empty; then the write-ahead file alone says what the log holds.
fn read_checkpoint(folder: &Path, verifier: &str) -> Result<Option<Checkpoint>, DiskError> {
    let note = match std::fs::read_to_string(folder.join("checkpoint")) {
        Ok(note) if !note.is_empty() => note,
        _ => return Ok(None),
    };
    let policy = TrustPolicy::parse(&format!("log {verifier}\nquorum none\n"));
    let checked = policy.and_then(|policy| policy.verify(&note));
    checked.map(Some).map_err(|_| DiskError::Inconsistent("the checkpoint is not signed by this log's key"))
}

fn older_root(folder: &Path, checkpoint: &Checkpoint) -> Result<Hash, DiskError> {
    let frontier = restore_frontier(folder, checkpoint.size);
    frontier.map(|f| f.root()).ok_or(DiskError::Inconsistent("tiles of the checkpoint are missing"))
}

fn join_record(leaf: &[u8], side: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(leaf.len()).unwrap_or(0).to_be_bytes().to_vec();
    out.extend_from_slice(leaf);
    out.extend_from_slice(side);
    out
}

fn split_record(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = record.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests;
