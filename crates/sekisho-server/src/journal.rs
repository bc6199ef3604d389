//! Leaves: what the server writes to the log, and the way of the outbox into it.

use futures_util::future::join_all;
use sekisho_disk::{Appended, DiskError, Ledger, NewEntry};
use sekisho_events::{Encoded, Event, Leaf, LeafError, Personal};
use sekisho_runtime::random_bytes;
use sekisho_store::{Conflict, LogMark, StoreError, Write};
use sekisho_types::{TrustDomain, UnixTime};
use std::sync::Arc;

use crate::domain::Domain;
use crate::submit;

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

/// Leaves that are moved into the log at once, and their bytes.
const AT_ONCE: usize = 4096;
const APPEND_BYTES: usize = 3 * 1024 * 1024;

/// A value that may say something of a person: the log commits to it.
pub(crate) fn personal<T>(value: T) -> Personal<T> {
    Personal::new(value, random_bytes())
}

/// Where and when something happens: what its leaf says besides the event.
#[derive(Clone)]
pub(crate) struct Stamp {
    trust_domain: TrustDomain,
    at: UnixTime,
}

impl Stamp {
    pub(crate) fn now(domain: &Domain) -> Self {
        Self { trust_domain: domain.identity.name.clone(), at: domain.log_time() }
    }

    pub(crate) fn leaf(self, event: impl Into<Event>) -> Leaf {
        Leaf::new(self.trust_domain, self.at, event)
    }
}

/// Appends an event to the log. Durable when this returns (law L5).
pub(crate) async fn append(domain: &Domain, event: impl Into<Event>) -> Result<u64, JournalError> {
    append_leaf(domain, Written::of(Stamp::now(domain).leaf(event))?).await
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

pub(crate) async fn append_leaf(domain: &Domain, written: Written) -> Result<u64, JournalError> {
    Ok(append_written(domain, vec![written]).await?)
}

/// Appends leaves of which each is for itself, with one wait for as many as an append takes. Returns the index
/// of each, in order.
pub(crate) async fn append_leaves(domain: &Domain, all: Vec<Written>) -> Vec<Result<u64, JournalError>> {
    let groups = groups(all).into_iter().map(|group| async {
        let count = group.len() as u64;
        let first = append_written(domain, group).await;
        (0..count).map(|offset| Ok(first.clone()? + offset)).collect::<Vec<_>>()
    });
    join_all(groups).await.into_iter().flatten().collect()
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

async fn append_written(domain: &Domain, all: Vec<Written>) -> Appended {
    let (events, entries): (Vec<_>, Vec<_>) = all
        .into_iter()
        .map(|Written { event, bytes }| (event, NewEntry { leaf: bytes.leaf, side: bytes.side }))
        .unzip();
    let appended = domain.log.ledger.append(entries).await;
    domain.watch.health.appended(&appended);
    if appended.is_ok() {
        events.iter().for_each(|event| domain.watch.counters.recorded(event));
    }
    appended
}

/// Two events, together or not at all. Returns the index of the second.
pub(crate) async fn append_both(
    domain: &Domain,
    first: impl Into<Event>,
    second: impl Into<Event>,
) -> Result<u64, JournalError> {
    let stamp = Stamp::now(domain);
    let both = vec![Written::of(stamp.clone().leaf(first))?, Written::of(stamp.leaf(second))?];
    Ok(append_written(domain, both).await? + 1)
}

/// Moves all leaves of the outbox into the log, in order and each once: what the log has already, it leaves out (decisions/0042).
pub(crate) async fn drain_outbox(domain: &Domain) -> Result<(), JournalError> {
    let _one_at_a_time = domain.log.outbox.draining.lock().await;
    loop {
        let mut waiting = domain.store.outbox(&domain.identity.name, AT_ONCE).await?;
        // As many as one append takes; each alone is far below that.
        let mut bytes = 0;
        let fit = waiting.iter().take_while(|row| {
            bytes += row.leaf.len() + row.side.len() + 8;
            bytes <= APPEND_BYTES
        });
        let fit = fit.count().max(1);
        waiting.truncate(fit);
        let Some(last) = waiting.last().map(|leaf| leaf.sequence) else { return Ok(()) };
        let count = waiting.len();
        let leaves = waiting.into_iter().map(|row| (row.sequence, NewEntry { leaf: row.leaf, side: row.side }));
        let appended = domain.log.ledger.append_once(leaves.collect()).await;
        domain.watch.health.appended(&appended);
        domain.log.outbox.offered(appended.is_ok());
        appended.map_err(JournalError::Disk)?;
        submit::write::<JournalError>(domain, Write::Drained(last)).await?;
        domain.log.outbox.went(count);
    }
}

/// Remembers in the database how far the log has come; an older copy of the log is then noticed at the next start.
pub(crate) async fn mark(domain: &Domain) -> Result<(), JournalError> {
    let size = domain.log.ledger.size();
    let ledger = domain.log.ledger.clone();
    let root = sekisho_runtime::blocking(move || ledger.root(size)).await.ok().flatten();
    let Some(root) = root.filter(|_| size > 0) else { return Ok(()) };
    let mark = LogMark { size, root: root.to_vec() };
    submit::write(domain, Write::MarkLog(mark)).await.map(drop)
}

/// Whether the log holds all that the database remembers of it.
pub(crate) fn check_mark(ledger: &Ledger, mark: Option<&LogMark>) -> Result<(), String> {
    let Some(mark) = mark else { return Ok(()) };
    let (size, found) = (ledger.size(), ledger.root(mark.size));
    if size < mark.size {
        return Err(format!(
            "the log has {size} entries and had {}: an older copy of it was restored. Put the newer log back, or restore state and \
             log of one backup together",
            mark.size
        ));
    }
    if found.is_none_or(|root| root.as_slice() != mark.root) {
        return Err(format!("the first {} entries of the log are not those that it had: it was changed", mark.size));
    }
    Ok(())
}
