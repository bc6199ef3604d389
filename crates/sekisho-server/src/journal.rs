//! Leaves: what the server writes to the log.

use std::sync::Arc;

use futures_util::future::join_all;
use sekisho_disk::{Appended, DiskError, Ledger, NewEntry};
use sekisho_events::{Encoded, Event, Leaf, LeafError, Personal};
use sekisho_runtime::random_bytes;
use sekisho_store::{Conflict, LogMark, StoreError};
use sekisho_types::{TrustDomain, UnixTime};

use crate::domain::{Domain, Log, ServerMonitor};

#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error(transparent)]
    Leaf(#[from] LeafError),
    #[error("{0}")]
    Disk(#[from] Arc<DiskError>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

impl JournalError {
    /// What to tell a caller whose change found another state at each try, since others changed the same.
    pub(crate) fn contended(&self) -> Option<String> {
        match self {
            Self::Conflict(conflict) if conflict.is_stale() => {
                Some(format!("{conflict}, and so at each of several tries; read it again and retry"))
            }
            _ => None,
        }
    }
}

/// Bytes of leaves that are appended at once.
pub(crate) const APPEND_BYTES: usize = 3 * 1024 * 1024;

/// A value that may say something of a person: the log commits to it.
pub(crate) fn personal<T>(value: T) -> Personal<T> {
    Personal::new(value, random_bytes())
}

/// The way of leaves into the log, and what it takes of a trust domain.
#[derive(Clone, Copy)]
pub(crate) struct Journal<'a> {
    trust_domain: &'a TrustDomain,
    log: &'a Log,
    watch: &'a ServerMonitor,
}

impl Domain {
    pub(crate) const fn journal(&self) -> Journal<'_> {
        Journal { trust_domain: &self.identity.name, log: &self.log, watch: &self.watch }
    }
}

impl Journal<'_> {
    /// The leaf of what happens now.
    pub(crate) fn leaf(self, event: impl Into<Event>) -> Leaf {
        self.stamp().leaf(event)
    }

    /// A new id that holds the log's time, for `iss_…` and the like.
    pub(crate) fn new_id(self) -> [u8; 16] {
        self.log.new_id()
    }

    pub(crate) fn stamp(self) -> Stamp {
        Stamp { trust_domain: self.trust_domain.clone(), at: self.log.time() }
    }

    /// Appends an event to the log. Durable when this returns (law L5).
    pub(crate) async fn append(self, event: impl Into<Event>) -> Result<u64, JournalError> {
        let written = Written::of(self.leaf(event))?;
        self.append_leaf(written).await
    }

    pub(crate) async fn append_leaf(self, written: Written) -> Result<u64, JournalError> {
        Ok(self.append_written(vec![written]).await?)
    }

    /// Two events, together or not at all. Returns the index of the second.
    pub(crate) async fn append_both(
        self,
        first: impl Into<Event>,
        second: impl Into<Event>,
    ) -> Result<u64, JournalError> {
        let stamp = self.stamp();
        let both = vec![Written::of(stamp.clone().leaf(first))?, Written::of(stamp.leaf(second))?];
        Ok(self.append_written(both).await? + 1)
    }

    /// Appends leaves of which each is for itself, with one wait for as many as an append takes. Returns the index
    /// of each, in order.
    pub(crate) async fn append_leaves(self, all: Vec<Written>) -> Vec<Result<u64, JournalError>> {
        let groups = groups(all).into_iter().map(|group| async move {
            let count = group.len() as u64;
            let first = self.append_written(group).await;
            (0..count).map(|offset| Ok(first.clone()? + offset)).collect::<Vec<_>>()
        });
        join_all(groups).await.into_iter().flatten().collect()
    }

    async fn append_written(self, all: Vec<Written>) -> Appended {
        let (events, entries): (Vec<_>, Vec<_>) = all
            .into_iter()
            .map(|Written { event, bytes }| (event, NewEntry { leaf: bytes.leaf, side: bytes.side }))
            .unzip();
        let appended = self.log.ledger.append(entries).await;
        self.watch.health.appended(&appended);
        if appended.is_ok() {
            events.iter().for_each(|event| self.watch.counters.recorded(event));
        }
        appended
    }
}

fn groups(all: Vec<Written>) -> Vec<Vec<Written>> {
    let (mut groups, mut bytes): (Vec<Vec<Written>>, _) = (vec![], 0);
    for written in all {
        let length = written.length() + 8;
        bytes += length;
        match groups.last_mut() {
            Some(group) if bytes <= APPEND_BYTES => group.push(written),
            _ => {
                groups.push(vec![written]);
                bytes = length;
            }
        }
    }
    groups
}

/// Where and when something happens: what its leaf says besides the event.
#[derive(Clone)]
pub(crate) struct Stamp {
    trust_domain: TrustDomain,
    at: UnixTime,
}

impl Stamp {
    pub(crate) fn leaf(self, event: impl Into<Event>) -> Leaf {
        Leaf::new(self.trust_domain, self.at, event)
    }
}

/// A leaf and its bytes.
pub(crate) struct Written {
    event: Event,
    bytes: Encoded,
}

impl Written {
    pub(crate) fn of(leaf: Leaf) -> Result<Self, LeafError> {
        Ok(Self { bytes: leaf.encode()?, event: leaf.event })
    }

    /// What it takes of the disk, in bytes.
    pub(crate) const fn length(&self) -> usize {
        self.bytes.leaf.len() + self.bytes.side.len()
    }
}

/// Whether the log holds all that the database remembers of it.
pub(crate) fn check_mark(ledger: &Ledger, mark: Option<&LogMark>) -> Result<(), String> {
    let Some(mark) = mark else { return Ok(()) };
    let (size, found) = (ledger.size(), ledger.root(mark.size));
    if size < mark.size {
        return Err(format!(
            "the log has {size} entries and had {}: an older copy of it was restored. Put the newer log back, or \
                restore state and log of one backup together",
            mark.size
        ));
    }
    if found.is_none_or(|root| root.as_slice() != mark.root) {
        return Err(format!("the first {} entries of the log are not those that it had: it was changed", mark.size));
    }
    Ok(())
}
