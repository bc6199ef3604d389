//! The store in one SQLite database: one writer thread, group commit, readers beside it.

mod anew;
mod before_6;
mod entries;
mod reads;
mod rows;
mod schema;
mod writer;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use sekisho_types::{Digest, Revision, SpiffeId, TrustDomain, UnixTime};
use tokio::sync::oneshot;

use self::writer::{Job, Jobs, Writer};
use crate::observers::Observers;
use crate::{
    AlertRecord, Answer, AuthorityRecord, Batch, Committed, DeviceRecord, History, Marks, Observer, OutboxLeaf, Past,
    PolicyRecord, ServerId, Snapshot, SpoolPosition, Store, StoreError, TokenRecord,
};

pub use self::anew::start_new_epoch;
pub use self::reads::Reader;
pub use self::schema::copy_database;

/// Negative, as SQLite counts KiB.
const CACHE_KIB: i64 = -16 * 1024;
/// Of 4 KiB.
const CHECKPOINT_PAGES: i64 = 4000;

/// A handle to the database; cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    jobs: Jobs,
    reader: Arc<Mutex<Connection>>,
    server: ServerId,
    observers: Observers,
}

impl SqliteStore {
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
        connection.set_prepared_statement_cache_capacity(64);
        let reader = Connection::open(path)?;
        reader.pragma_update(None, "query_only", "ON")?;
        let wal = path.with_file_name(format!("{}-wal", path.file_name().unwrap_or_default().display()));
        let (server, observers) = (ServerId::local(), Observers::default());
        let writer = Writer { connection, server: server.clone(), observers: observers.clone(), wal };
        Ok(Self { jobs: Jobs::to(writer)?, reader: Arc::new(Mutex::new(reader)), server, observers })
    }

    /// Reads. For threads that may block.
    pub fn read<T>(&self, work: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        work(&Reader::new(&connection, &self.server))
    }

    /// Trims the changes of a database that nothing writes to meanwhile.
    #[cfg(test)]
    pub(crate) fn trim(&self, td: &TrustDomain, keep: usize) {
        use crate::rows::Rows;
        let connection = self.reader.lock().unwrap();
        connection.pragma_update(None, "query_only", "OFF").unwrap();
        let mut rows = rows::SqliteRows { connection: &connection, trust_domain: td, server: &self.server };
        rows.trim_changed(keep).unwrap();
    }

    /// Reads on a thread that may block.
    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        let store = self.clone();
        let read = sekisho_ports::blocking(move || store.read(work));
        Box::pin(async move { read.await.unwrap_or(Err(StoreError::Stopped)) })
    }

    /// Empties the database's own write-ahead log, in which rows that were deleted still stand. If readers are in the
    /// way, SQLite does so later.
    fn wipe_now(&self) -> Result<(), StoreError> {
        let (done, wait) = channel();
        // Behind what was written before.
        self.jobs.send(Job::Barrier(done))?;
        let _answered = wait.recv();
        let connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}

impl Store for SqliteStore {
    fn server(&self) -> &ServerId {
        &self.server
    }

    fn commit(&self, batch: Batch) -> Answer<'_, Committed> {
        let (done, wait) = oneshot::channel();
        // Sent now, not when the answer is awaited: batches are written in the order of these calls.
        let sent = self.jobs.send(Job::Write(Box::new(batch), done));
        Box::pin(async move {
            sent?;
            wait.await.unwrap_or(Err(StoreError::Stopped))
        })
    }

    fn observe(&self, observer: Observer) {
        self.observers.add(observer);
    }

    fn snapshot(&self, td: &TrustDomain) -> Answer<'_, Snapshot> {
        let td = td.clone();
        self.answer(move |reader| reader.snapshot(&td))
    }

    fn history(&self, td: &TrustDomain, since: Revision) -> Answer<'_, History> {
        let td = td.clone();
        self.answer(move |reader| reader.history(&td, since))
    }

    fn past(&self, td: &TrustDomain, at_most: usize) -> Answer<'_, Past> {
        let td = td.clone();
        self.answer(move |reader| reader.past(&td, at_most))
    }

    fn revision(&self, td: &TrustDomain) -> Answer<'_, Revision> {
        let td = td.clone();
        self.answer(move |reader| reader.revision(&td))
    }

    fn authorities(&self, td: &TrustDomain) -> Answer<'_, (Revision, Vec<AuthorityRecord>)> {
        let td = td.clone();
        self.answer(move |reader| Ok((reader.revision(&td)?, reader.authorities(&td)?)))
    }

    fn marks(&self, td: &TrustDomain) -> Answer<'_, Marks> {
        let td = td.clone();
        self.answer(move |reader| reader.marks(&td))
    }

    fn alerts(&self, td: &TrustDomain, after: Option<&str>, limit: usize) -> Answer<'_, Vec<AlertRecord>> {
        let (td, after) = (td.clone(), after.map(str::to_owned));
        self.answer(move |reader| reader.alerts(&td, after.as_deref(), limit))
    }

    fn devices(&self, td: &TrustDomain) -> Answer<'_, Vec<DeviceRecord>> {
        let td = td.clone();
        self.answer(move |reader| reader.devices(&td))
    }

    fn device(&self, td: &TrustDomain, key: &Digest) -> Answer<'_, Option<DeviceRecord>> {
        let (td, key) = (td.clone(), *key);
        self.answer(move |reader| reader.device(&td, &key))
    }

    fn tokens(&self, td: &TrustDomain) -> Answer<'_, Vec<TokenRecord>> {
        let td = td.clone();
        self.answer(move |reader| reader.tokens(&td))
    }

    fn token(&self, td: &TrustDomain, hash: &str) -> Answer<'_, Option<TokenRecord>> {
        let (td, hash) = (td.clone(), hash.to_owned());
        self.answer(move |reader| reader.token(&td, &hash))
    }

    fn policy(&self, td: &TrustDomain, revision: Option<u64>) -> Answer<'_, Option<PolicyRecord>> {
        let td = td.clone();
        self.answer(move |reader| reader.policy(&td, revision))
    }

    fn spool(&self, td: &TrustDomain, node: &SpiffeId, spool: &str) -> Answer<'_, Option<SpoolPosition>> {
        let (td, node, spool) = (td.clone(), node.clone(), spool.to_owned());
        self.answer(move |reader| reader.spool(&td, &node, &spool))
    }

    fn former_parents(&self, td: &TrustDomain, id: &SpiffeId) -> Answer<'_, Vec<(SpiffeId, UnixTime)>> {
        let (td, id) = (td.clone(), id.clone());
        self.answer(move |reader| reader.former_parents(&td, &id))
    }

    fn outbox(&self, td: &TrustDomain, limit: usize) -> Answer<'_, Vec<OutboxLeaf>> {
        let td = td.clone();
        self.answer(move |reader| reader.outbox(&td, limit))
    }

    fn outbox_length(&self, td: &TrustDomain) -> Answer<'_, u64> {
        let td = td.clone();
        self.answer(move |reader| reader.outbox_length(&td))
    }

    fn wipe(&self) -> Answer<'_, ()> {
        let store = self.clone();
        let wiped = sekisho_ports::blocking(move || store.wipe_now());
        Box::pin(async move { wiped.await.unwrap_or(Err(StoreError::Stopped)) })
    }
}
