use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rusqlite::Connection;
use sekisho_ports::Machine;
use sekisho_types::{Revision, TrustDomain};
use tokio::sync::oneshot;

use crate::{Batch, Change, Reader, StoreError, schema};

/// Batches that share one fsync at most.
const MAX_GROUP: usize = 512;
/// Negative, as SQLite counts KiB.
const CACHE_KIB: i64 = -16 * 1024;
/// Of 4 KiB.
const CHECKPOINT_PAGES: i64 = 4000;

/// A committed batch.
#[derive(Debug, Clone)]
pub struct Committed {
    pub trust_domain: TrustDomain,
    pub revision: Option<Revision>,
    pub changes: Vec<Change>,
    /// Whether leaves wait in the outbox.
    pub has_leaf: bool,
}

/// Hears of each committed batch before its caller does.
type Observer = Box<dyn Fn(&Committed) + Send + Sync>;
type Job = Box<dyn FnOnce(&Connection) -> Option<Finish> + Send>;
/// Called after the group's commit, with what became of it.
type Finish = Box<dyn FnOnce(Outcome) + Send>;

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
enum Jobs {
    Thread(Sender<Job>),
    Here(Arc<(Mutex<Connection>, PathBuf)>),
}

impl Jobs {
    fn send(&self, job: Job) -> Result<(), StoreError> {
        match self {
            Self::Thread(thread) => thread.send(job).map_err(|_| StoreError::Stopped),
            Self::Here(writer) => {
                let connection = writer.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                group(&connection, std::iter::once(job), &writer.1).then_some(()).ok_or(StoreError::Stopped)
            }
        }
    }
}

/// A handle to the store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    jobs: Jobs,
    reader: Arc<Mutex<Connection>>,
    observer: Arc<OnceLock<Observer>>,
}

impl Store {
    /// Opens or makes the database at `path` and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its own files the mode of this one.
        let made = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        made.map_err(|source| StoreError::File { path: path.display().to_string(), source })?;
        let mut connection = Connection::open(path)?;
        schema::migrate(&mut connection, path)?;
        // Many rows in one transaction: pages of two indexes, their undo, and a log that is folded in seldom.
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        let reader = Connection::open(path)?;
        reader.pragma_update(None, "query_only", "ON")?;
        let wal = path.with_file_name(format!("{}-wal", path.file_name().unwrap_or_default().display()));
        let jobs = if Machine::current().is_some() {
            Jobs::Here(Arc::new((Mutex::new(connection), wal)))
        } else {
            let (jobs, queue) = channel();
            let thread = std::thread::Builder::new().name("store".into());
            thread.spawn(move || run(&connection, &queue, &wal)).map_err(|_| StoreError::Stopped)?;
            Jobs::Thread(jobs)
        };
        Ok(Self { jobs, reader: Arc::new(Mutex::new(reader)), observer: Arc::default() })
    }

    /// Lets `observer` hear of each committed batch, in order and before the batch's caller goes on. Set once.
    pub fn observe(&self, observer: impl Fn(&Committed) + Send + Sync + 'static) {
        // A second observer would be a mistake of the wiring; the first one stays.
        let _first_stays = self.observer.set(Box::new(observer));
    }

    /// Runs one write batch. Durable when this returns; if `work` fails, none of it is.
    pub async fn write<T, E>(
        &self,
        trust_domain: &TrustDomain,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (done, wait) = oneshot::channel::<Result<T, E>>();
        let (trust_domain, observer) = (trust_domain.clone(), self.observer.clone());
        let job: Job = Box::new(move |connection| {
            if let Err(error) = connection.execute_batch("SAVEPOINT batch") {
                let _gone = done.send(Err(StoreError::from(error).into()));
                return None;
            }
            let mut batch = Batch::new(connection, &trust_domain);
            let result = work(&mut batch);
            let (revision, has_leaf) = (batch.revision_taken(), batch.has_leaf);
            let changes = std::mem::take(&mut batch.changes);
            let end = if result.is_ok() { "RELEASE batch" } else { "ROLLBACK TO batch; RELEASE batch" };
            if let Err(error) = connection.execute_batch(end) {
                let _gone = done.send(Err(StoreError::from(error).into()));
                return None;
            }
            Some(Box::new(move |outcome| {
                if outcome == Outcome::Kept
                    && result.is_ok()
                    && let Some(observer) = observer.get()
                {
                    observer(&Committed { trust_domain, revision, changes, has_leaf });
                }
                let _gone = done.send(match outcome {
                    Outcome::Kept => result,
                    Outcome::Refused => result.and(Err(StoreError::NotCommitted.into())),
                    Outcome::Unknown => result.and(Err(StoreError::Unknown.into())),
                });
            }))
        });
        self.jobs.send(job)?;
        wait.await.unwrap_or_else(|_| Err(StoreError::Stopped.into()))
    }

    /// Reads on a thread that may block, for tasks that may not.
    pub async fn query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        sekisho_ports::blocking(move || store.read(work)).await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Empties the database's own write-ahead log, in which rows that were deleted still stand. If readers are in the way, SQLite does
    /// so later. For threads that may block.
    pub fn wipe(&self) -> Result<(), StoreError> {
        let (done, wait) = channel();
        let job: Job = Box::new(move |_| Some(Box::new(move |_| done.send(()).unwrap_or_default())));
        // Behind what was written before.
        self.jobs.send(job)?;
        let _answered = wait.recv();
        let connection = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Reads. For threads that may block.
    pub fn read<T>(&self, work: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let connection = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&Reader::new(&connection))
    }
}

/// Runs jobs in groups: one transaction, and so one fsync, for all that wait.
fn run(connection: &Connection, queue: &Receiver<Job>, wal: &Path) {
    while let Ok(first) = queue.recv() {
        if !group(connection, std::iter::once(first).chain(queue.try_iter().take(MAX_GROUP - 1)), wal) {
            return;
        }
    }
}

/// Runs one group. Whether the store goes on.
fn group(connection: &Connection, mut jobs: impl Iterator<Item = Job>, wal: &Path) -> bool {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        // Without a transaction nothing may run: a job would commit by itself. Its caller hears that it was dropped.
        tracing::error!(%error, "the store could not begin");
        let _unfinished = connection.execute_batch("ROLLBACK");
        drop(jobs.next());
        return true;
    }
    // Some failures make SQLite end the whole transaction; a job that came after would commit by itself.
    let jobs = jobs.take_while(|_| !connection.is_autocommit());
    let finishes: Vec<Finish> = jobs.filter_map(|job| job(connection)).collect();
    let committed = !connection.is_autocommit()
        && connection
            .execute_batch("COMMIT")
            .inspect_err(|error| {
                tracing::error!(%error, "the store could not commit; nothing of this group was kept");
            })
            .is_ok();
    let outcome = if committed { Outcome::Kept } else { take_back(connection, wal) };
    for finish in finishes {
        finish(outcome);
    }
    if outcome == Outcome::Unknown {
        tracing::error!("the store stops: what a failed commit wrote could not be taken back; start the server again");
        return false;
    }
    true
}

/// How often what a failed commit wrote is tried to be taken back, and the pause between.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Takes back what a failed commit wrote: SQLite leaves its frames in the write-ahead log, behind the last that counts, and a
/// start would find a whole transaction there. Its callers hear that it was refused only when that is true.
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

/// Ends the write-ahead log behind the last frame that counts. Only this thread writes to it, and readers look at no later ones.
fn cut(connection: &Connection, wal: &Path) -> Result<(), StoreError> {
    let file_error = |source| StoreError::File { path: wal.display().to_string(), source };
    let frames: i64 = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))?;
    // Negative if SQLite cannot say: what counts must not be cut off.
    let frames = u64::try_from(frames).map_err(|_| StoreError::NotCommitted)?;
    let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    // https://www.sqlite.org/fileformat2.html#the_write_ahead_log: a header of 32 bytes, then frames of 24 bytes and a page.
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
