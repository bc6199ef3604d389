//! The one thread that writes: batches that wait share one transaction, and so one fsync.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use sekisho_ports::is_simulated;
use tokio::sync::oneshot;

use super::rows::SqliteRows;
use crate::execute::execute;
use crate::{Batch, Committed, Delta, ServerId, StoreError, observers::Observers};

/// Batches that share one fsync at most.
const MAX_GROUP: usize = 512;

pub(super) enum Job {
    Write(Box<Batch>, oneshot::Sender<Result<Committed, StoreError>>),
    /// Answered behind all that was asked before.
    Barrier(Sender<()>),
}

/// What is left to do after the group's commit.
enum Finish {
    Written(Box<(Committed, Delta)>, oneshot::Sender<Result<Committed, StoreError>>),
    Barrier(Sender<()>),
}

/// What became of a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Kept,
    Refused,
    /// The commit failed, and what it wrote could not be taken back.
    Unknown,
}

/// The way to the writer: a thread, or on a simulated machine, which has none, the caller itself.
#[derive(Clone)]
pub(super) enum Jobs {
    Thread(Sender<Job>),
    Here(Arc<Mutex<Writer>>),
}

impl Jobs {
    pub(super) fn to(writer: Writer) -> Result<Self, StoreError> {
        if is_simulated() {
            return Ok(Self::Here(Arc::new(Mutex::new(writer))));
        }
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new().name("store".into());
        thread.spawn(move || run(&writer, &queue)).map_err(|_| StoreError::Stopped)?;
        Ok(Self::Thread(jobs))
    }

    pub(super) fn send(&self, job: Job) -> Result<(), StoreError> {
        match self {
            Self::Thread(thread) => thread.send(job).map_err(|_| StoreError::Stopped),
            Self::Here(writer) => {
                let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                writer.group(std::iter::once(job)).then_some(()).ok_or(StoreError::Stopped)
            }
        }
    }
}

pub(super) struct Writer {
    pub connection: Connection,
    pub server: ServerId,
    pub observers: Observers,
    /// SQLite's write-ahead log.
    pub wal: PathBuf,
}

impl Writer {
    fn execute(&self, job: Job) -> Option<Finish> {
        match job {
            Job::Barrier(done) => Some(Finish::Barrier(done)),
            Job::Write(batch, done) => match self.write(*batch) {
                Ok(written) => Some(Finish::Written(Box::new(written), done)),
                Err(error) => {
                    let _gone = done.send(Err(error));
                    None
                }
            },
        }
    }

    /// Runs a batch in a savepoint: if it fails, none of it is left in the group's transaction.
    fn write(&self, batch: Batch) -> Result<(Committed, Delta), StoreError> {
        let Self { connection, server, .. } = self;
        connection.execute_batch("SAVEPOINT batch")?;
        let trust_domain = batch.trust_domain.clone();
        let mut rows = SqliteRows { connection, trust_domain: &trust_domain, server };
        let written = execute(&mut rows, server, batch);
        connection.execute_batch(if written.is_ok() { "RELEASE batch" } else { "ROLLBACK TO batch; RELEASE batch" })?;
        written
    }

    /// Runs one group. Whether the store goes on.
    fn group(&self, mut jobs: impl Iterator<Item = Job>) -> bool {
        let Self { connection, wal, .. } = self;
        if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
            // Without a transaction nothing may run: a job would commit by itself. Its caller hears that it was
            // dropped.
            tracing::error!(%error, "the store could not begin");
            let _unfinished = connection.execute_batch("ROLLBACK");
            drop(jobs.next());
            return true;
        }
        // Some failures make SQLite end the whole transaction; a job that came after would commit by itself.
        let jobs = jobs.take_while(|_| !connection.is_autocommit());
        let finishes: Vec<Finish> = jobs.filter_map(|job| self.execute(job)).collect();
        let committed = !connection.is_autocommit()
            && connection
                .execute_batch("COMMIT")
                .inspect_err(|error| {
                    tracing::error!(%error, "the store could not commit; nothing of this group was kept");
                })
                .is_ok();
        let outcome = if committed { Outcome::Kept } else { take_back(connection, wal) };
        for finish in finishes {
            self.finish(finish, outcome);
        }
        if outcome == Outcome::Unknown {
            tracing::error!(
                "the store stops: what a failed commit wrote could not be taken back; start the server again"
            );
            return false;
        }
        true
    }

    fn finish(&self, finish: Finish, outcome: Outcome) {
        match finish {
            Finish::Barrier(done) => done.send(()).unwrap_or_default(),
            Finish::Written(written, done) => {
                let (committed, delta) = *written;
                let answer = match outcome {
                    Outcome::Kept => {
                        self.observers.notify(&delta);
                        Ok(committed)
                    }
                    Outcome::Refused => Err(StoreError::NotCommitted),
                    Outcome::Unknown => Err(StoreError::Unknown),
                };
                let _gone = done.send(answer);
            }
        }
    }
}

/// Runs jobs in groups: one transaction, and so one fsync, for all that wait.
fn run(writer: &Writer, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        if !writer.group(std::iter::once(first).chain(queue.try_iter().take(MAX_GROUP - 1))) {
            return;
        }
    }
}

/// How often what a failed commit wrote is tried to be taken back, and the pause between.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Takes back what a failed commit wrote: SQLite leaves its frames in the write-ahead log, behind the last that counts,
/// and a start would find a whole transaction there. Its callers hear that it was refused only when that is true.
fn take_back(connection: &Connection, wal: &Path) -> Outcome {
    let _already_rolled_back = connection.execute_batch("ROLLBACK");
    for attempt in 1..=ATTEMPTS {
        match cut(connection, wal) {
            Ok(()) => return Outcome::Refused,
            Err(error) => tracing::error!(%error, attempt, "what a failed commit wrote was not taken back"),
        }
        std::thread::sleep(PAUSE);
    }
    Outcome::Unknown
}

/// Ends the write-ahead log behind the last frame that counts. Only this thread writes to it, and readers look at no
/// later ones.
fn cut(connection: &Connection, wal: &Path) -> Result<(), StoreError> {
    let file_error = |source| StoreError::File { path: wal.display().to_string(), source };
    let frames: i64 = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))?;
    // Negative if SQLite cannot say: what counts must not be cut off.
    let frames = u64::try_from(frames).map_err(|_| StoreError::NotCommitted)?;
    let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    // https://www.sqlite.org/fileformat2.html#the_write_ahead_log: a header of 32 bytes, then frames of 24 bytes and a
    // page.
    let end = if frames == 0 { 0 } else { 32 + frames * (24 + page) };
    let file = match std::fs::OpenOptions::new().write(true).open(wal) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(file_error)?,
    };
    if file.metadata().map_err(file_error)?.len() > end {
        file.set_len(end).map_err(file_error)?;
    }
    file.sync_all().map_err(file_error)
}
