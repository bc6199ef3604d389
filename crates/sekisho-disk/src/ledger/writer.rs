//! The log's only writer: batches, publication, recovery.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use sekisho_ledger::{Checkpoint, Hash, NoteSigner, TrustPolicy};
use sekisho_ports::{Machine, instant};
use sekisho_types::Signer;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::DiskError;
use crate::disk::{Disk, replace_file};
use crate::ledger_entry::{Append, BATCH_BYTES, Logged, Recovered, TileSchedule};
use crate::ledger_files::restore_frontier;
use crate::ledger_tiles::Tiles;
use crate::wal::Wal;

/// Requests in one batch at most.
const MAX_BATCH: usize = 4096;
/// Entries in a batch above which the next one is gathered for a moment: many callers wait, and fewer fsyncs serve
/// them as well.
const BUSY: usize = 8;
const GATHER: Duration = Duration::from_millis(1);
/// How long a batch waits for a simulated disk, in milliseconds, at most.
const SLOWEST_SYNC_MS: u64 = 12;
/// One sync in so many is of a disk that is busy, and takes up to this time: what waits for it may be revoked
/// meanwhile.
const SLOW_SYNC_EVERY: u64 = 12;
const SLOW_SYNC_MS: u64 = 500;
/// The pause after a publication that failed.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How many times its size the write-ahead file may reach while tiles cannot be written; memory holds as much.
const MOST_UNSETTLED: u64 = 16;

/// The newest signed checkpoint, and the size that it covers.
type Published = (u64, Arc<str>);

/// Where a log is, what it is called, and how it is written.
pub(super) struct LogLocation<'a> {
    pub disk: Disk,
    pub folder: &'a Path,
    pub origin: &'a str,
    pub pace: TileSchedule,
}

pub(super) struct Writer {
    folder: PathBuf,
    origin: String,
    key: Arc<dyn Signer>,
    disk: Disk,
    wal: Wal,
    tiles: Tiles,
    /// Up to which number the log holds the leaves of the outbox.
    outbox: Option<i64>,
    pace: TileSchedule,
    published: watch::Sender<Published>,
    _lock: std::fs::File,
}

impl Writer {
    pub(super) fn recover(
        LogLocation { disk, folder, origin, pace }: LogLocation<'_>,
        key: Arc<dyn Signer>,
        verifier: &str,
        lock: std::fs::File,
    ) -> Result<(Self, Recovered, watch::Receiver<Published>), DiskError> {
        let wal_path = folder.join("wal");
        let checkpoint = read_checkpoint(folder, verifier)?;
        let (wal, base, records) = match Wal::open(&disk, &wal_path)? {
            Some(found) => found,
            None if checkpoint.is_none() && !folder.join("tile").exists() => {
                (Wal::create(&disk, &wal_path, 0, [])?, 0, vec![])
            }
            None => return Err(DiskError::Inconsistent("there are tiles or a checkpoint but no write-ahead file")),
        };
        // The file is begun anew only behind a durable checkpoint.
        if base > 0 && !folder.join("checkpoint").exists() {
            return Err(DiskError::Inconsistent("there is a write-ahead file but no checkpoint"));
        }
        let mut tiles = Tiles::restore(disk.clone(), folder, base)?;
        let outbox = replay(&mut tiles, &records, checkpoint.as_ref(), &wal_path)?;
        let size = tiles.frontier.size();
        let recovered = Recovered { size, replayed: size - base, outbox };
        let (published, watched) = watch::channel((0, Arc::from("")));
        let (folder, origin) = (folder.to_owned(), origin.to_owned());
        let mut writer = Self { folder, origin, key, disk, wal, tiles, outbox, pace, published, _lock: lock };
        writer.publish(false)?;
        writer.tiles.remove_older()?;
        Ok((writer, recovered, watched))
    }

    pub(super) fn run(mut self, queue: &Receiver<Append>) {
        let Err(error) = self.serve(queue) else { return };
        // All that wait for a checkpoint are notified that none will come.
        drop(self);
        // The log may not go on behind what does not fit it; a restart recovers it.
        tracing::error!(%error, "the ledger stops taking entries; restart the server");
        while let Ok(append) = queue.recv() {
            let _gone = append.done.send(Err(Arc::new(DiskError::Stopped(error.to_string()))));
        }
    }

    /// The same as a task of a simulated machine, whose disk takes its time by the machine's seed.
    pub(super) async fn run_as_task(mut self, mut queue: UnboundedReceiver<Append>) {
        while let Some(first) = queue.recv().await {
            let random = Machine::current().map_or(0, |machine| machine.random());
            let slowest = if (random >> 32).is_multiple_of(SLOW_SYNC_EVERY) { SLOW_SYNC_MS } else { SLOWEST_SYNC_MS };
            tokio::time::sleep(Duration::from_millis(random % slowest)).await;
            let mut batch = vec![first];
            batch.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(MAX_BATCH));
            let written =
                self.write(batch).and_then(|()| if self.is_unpublished() { self.publish(false) } else { Ok(()) });
            match written {
                Err(error) if !error.is_io() => {
                    tracing::error!(%error, "the ledger stops taking entries; restart the server");
                    return;
                }
                _ => {}
            }
        }
    }

    /// Writes batches until the last handle is gone. After a pause a batch is published at once; under load,
    /// publication waits for its pace.
    fn serve(&mut self, queue: &Receiver<Append>) -> Result<(), DiskError> {
        let mut due = instant();
        let mut busy = false;
        loop {
            let first = if self.is_unpublished() {
                queue.recv_timeout(due.saturating_duration_since(instant()))
            } else {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let stop = matches!(first, Err(RecvTimeoutError::Disconnected));
            if let Ok(first) = first {
                let batch = gather(first, queue, if busy { GATHER } else { Duration::ZERO });
                busy = batch.iter().map(|append| append.entries.len()).sum::<usize>() > BUSY;
                self.write(batch)?;
            }
            if self.is_unpublished() && (stop || instant() >= due) {
                let pause = match self.publish(false) {
                    Ok(()) => self.pace.publish_every,
                    // What is not published is in the write-ahead file.
                    Err(error) if error.is_io() => {
                        tracing::error!(%error, "tiles were not written; the ledger will try again");
                        RETRY_AFTER
                    }
                    Err(error) => return Err(error),
                };
                due = instant() + pause;
            }
            if stop {
                return Ok(());
            }
        }
    }

    fn is_unpublished(&self) -> bool {
        self.tiles.frontier.size() > self.published.borrow().0
    }

    /// Makes a batch durable and answers its callers. A batch that could not be written is refused whole; the log
    /// goes on behind it.
    fn write(&mut self, mut batch: Vec<Append>) -> Result<(), DiskError> {
        let mut outbox = self.outbox;
        batch.iter_mut().for_each(|append| append.leave_out(&mut outbox));
        let entries = batch.iter().flat_map(|append| &append.entries);
        let heads: Vec<[u8; 4]> = entries.clone().map(|entry| Logged::head(&entry.leaf)).collect();
        let entries = entries.zip(&heads).map(|(entry, head)| [&head[..], &entry.leaf, &entry.side]);
        // In the frame of the entries: both are durable, or neither.
        let through = outbox.filter(|_| outbox != self.outbox).map(Logged::through);
        let records = entries.chain(through.iter().map(|through| [&through[..], &[], &[]]));
        let usable = self.usable_wal();
        let any = !heads.is_empty() || through.is_some();
        if let Err(error) = usable.and_then(|()| if any { self.wal.append(records) } else { Ok(()) }) {
            let error = Arc::new(error);
            for append in batch {
                let _gone = append.done.send(Err(error.clone()));
            }
            return if error.is_io() { Ok(()) } else { Err(DiskError::Stopped(error.to_string())) };
        }
        self.outbox = outbox;
        let mut settling = vec![];
        for append in batch {
            let first = self.tiles.frontier.size();
            append.entries.iter().try_for_each(|entry| self.tiles.push(&entry.leaf, &entry.side))?;
            if append.settle {
                settling.push(append.done);
            } else {
                let _gone = append.done.send(Ok(first));
            }
        }
        if !settling.is_empty() {
            let size = self.tiles.frontier.size();
            let settled = self.publish(true).map(|()| size).map_err(Arc::new);
            settling.into_iter().for_each(|done| drop(done.send(settled.clone())));
        }
        Ok(())
    }

    /// Sees that the write-ahead file can take a batch. After a failed sync it cannot, before all that it held is
    /// durable elsewhere.
    fn usable_wal(&mut self) -> Result<(), DiskError> {
        let full = self.wal.len() > self.pace.wal_bytes.saturating_mul(MOST_UNSETTLED);
        if self.wal.is_broken() || full { self.publish(true) } else { Ok(()) }
    }

    /// Writes tiles and checkpoint. When the write-ahead file has grown large or failed, makes both durable and begins
    /// that file anew; a checkpoint on disk is so never older than what that file begins with.
    fn publish(&mut self, settle: bool) -> Result<(), DiskError> {
        self.tiles.write()?;
        let checkpoint = self.signed_checkpoint()?;
        let path = self.folder.join("checkpoint");
        if settle || self.wal.is_broken() || self.wal.len() > self.pace.wal_bytes {
            self.tiles.sync()?;
            self.disk.write_atomic(&path, checkpoint.as_bytes())?;
            let through = self.outbox.map(Logged::through);
            self.wal.restart_file(self.tiles.frontier.size(), through.iter().map(<[u8; 12]>::as_slice))?;
            self.tiles.begins_here();
        } else {
            drop(replace_file(&path, checkpoint.as_bytes())?);
        }
        self.tiles.remove_superseded();
        self.published.send_replace((self.tiles.frontier.size(), Arc::from(checkpoint)));
        Ok(())
    }

    fn signed_checkpoint(&self) -> Result<String, DiskError> {
        let frontier = &self.tiles.frontier;
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: frontier.size(), root: frontier.root() };
        let signer = NoteSigner::new(&self.origin, self.key.as_ref()).map_err(|e| DiskError::Rule(e.to_string()))?;
        signer.sign(&checkpoint.to_string()).map_err(|e| DiskError::Rule(e.to_string()))
    }
}

/// Pushes the entries of the write-ahead file, and holds the tree against the last checkpoint. Returns up to which
/// number they hold the leaves of the outbox.
fn replay(
    tiles: &mut Tiles,
    records: &[Vec<u8>],
    checkpoint: Option<&Checkpoint>,
    wal_path: &Path,
) -> Result<Option<i64>, DiskError> {
    let mut outbox = None;
    let base = tiles.frontier.size();
    let mut seen = checkpoint.filter(|c| c.size <= base).map(|c| older_root(tiles, c)).transpose()?;
    for record in records {
        match Logged::read(record) {
            Some(Logged::Entry { leaf, side }) => tiles.push(leaf, side)?,
            Some(Logged::Through(number)) => outbox = Some(number),
            None => return Err(DiskError::Damaged { path: wal_path.to_owned(), what: "a record is not an entry" }),
        }
        if checkpoint.is_some_and(|c| c.size == tiles.frontier.size()) {
            seen = Some(tiles.frontier.root());
        }
    }
    match (checkpoint, seen) {
        (Some(_), None) => Err(DiskError::Inconsistent("entries of the checkpoint are missing")),
        (Some(checkpoint), Some(root)) if checkpoint.root != root => {
            Err(DiskError::Inconsistent("the entries have another root"))
        }
        _ => Ok(outbox),
    }
}

/// What waits behind `first` after this time, which passes asleep: at the queue each append would wake this thread.
fn gather(first: Append, queue: &Receiver<Append>, wait: Duration) -> Vec<Append> {
    if !wait.is_zero() {
        std::thread::sleep(wait);
    }
    let size = |append: &Append| append.entries.iter().map(|e| e.leaf.len() + e.side.len() + 8).sum::<usize>();
    let mut bytes = size(&first);
    let mut batch = vec![first];
    while batch.len() < MAX_BATCH && bytes < BATCH_BYTES {
        let Ok(next) = queue.try_recv() else { break };
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

fn older_root(tiles: &Tiles, checkpoint: &Checkpoint) -> Result<Hash, DiskError> {
    if checkpoint.size == tiles.frontier.size() {
        return Ok(tiles.frontier.root());
    }
    let frontier = restore_frontier(tiles.folder(), checkpoint.size, checkpoint.size);
    frontier.map(|f| f.root()).ok_or(DiskError::Inconsistent("tiles of the checkpoint are missing"))
}
