//! Leaves: what the server writes to the log, and the way of the outbox into it.

use sekisho_disk::{DiskError, Ledger, NewEntry};
use sekisho_ledger::{Kind, Leaf, LeafError, Opening};
use sekisho_runtime::random_bytes;
use sekisho_store::{Batch, LogMark, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bound::STATE_REVISION;
use crate::domain::Domain;

#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error(transparent)]
    Leaf(#[from] LeafError),
    #[error("{0}")]
    Disk(Arc<DiskError>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Bytes of leaves that are moved into the log at once.
const APPEND_BYTES: usize = 3 * 1024 * 1024;

/// A leaf being written, with what opens its personal fields.
pub(crate) struct Entry {
    leaf: Leaf,
    openings: Vec<Opening>,
}

impl Entry {
    pub(crate) fn new(domain: &Domain, kind: Kind) -> Self {
        Self { leaf: Leaf::new(kind, domain.name.clone(), domain.log_time()), openings: vec![] }
    }

    pub(crate) fn text(mut self, name: &str, value: impl Into<String>) -> Self {
        self.leaf = self.leaf.text(name, value);
        self
    }

    pub(crate) fn integer(mut self, name: &str, value: i64) -> Self {
        self.leaf = self.leaf.integer(name, value);
        self
    }

    /// A field that may say something of a person: logged as a salted commitment.
    pub(crate) fn personal(mut self, name: &str, value: impl Into<String>) -> Self {
        let opening = Opening { field: name.to_owned(), nonce: random_bytes(), value: value.into() };
        self.leaf = self.leaf.committed(name, &opening.commitment());
        self.openings.push(opening);
        self
    }

    /// About what it takes on disk, with what opens its commitments.
    pub(crate) fn size(&self) -> usize {
        self.openings.iter().map(|opening| opening.field.len() + opening.value.len() + 150).sum::<usize>() + 400
    }

    fn bytes(&self) -> Result<(Vec<u8>, Vec<u8>), LeafError> {
        let form = |opening: &Opening| OpeningForm { nonce: hex::encode(opening.nonce), value: opening.value.clone() };
        let openings: BTreeMap<_, _> = self.openings.iter().map(|opening| (&opening.field, form(opening))).collect();
        // Memory does not fail, and every member is a text.
        Ok((self.leaf.encode()?, serde_json::to_vec(&openings).unwrap_or_default()))
    }

    /// Appends to the log. Durable when this returns (law L5).
    pub(crate) async fn append(self, domain: &Domain) -> Result<u64, JournalError> {
        let (leaf, side) = self.bytes()?;
        append_all(domain, vec![NewEntry { leaf, side }]).await
    }

    /// This leaf and another behind it, together or not at all. Returns the index of the second.
    pub(crate) async fn append_before(self, next: Self, domain: &Domain) -> Result<u64, JournalError> {
        let entries = [self, next].map(|entry| entry.bytes().map(|(leaf, side)| NewEntry { leaf, side }));
        let entries = entries.into_iter().collect::<Result<_, _>>()?;
        Ok(append_all(domain, entries).await? + 1)
    }

    /// Puts the leaf into the transaction of the change that it records.
    pub(crate) fn with_change(self, batch: &mut Batch<'_>) -> Result<(), JournalError> {
        // A database that does not know this revision is an older one.
        let revision = i64::try_from(batch.revision()?.0).unwrap_or(i64::MAX);
        let (leaf, side) = self.integer(STATE_REVISION, revision).bytes()?;
        Ok(batch.log(&leaf, &side)?)
    }
}

/// What opens a commitment, as it stands beside the log.
#[derive(Serialize, Deserialize)]
struct OpeningForm {
    nonce: String,
    value: String,
}

/// Reads what opens a leaf's commitments back from its side data.
pub(crate) fn openings_of(side: &[u8]) -> Vec<Opening> {
    let members: BTreeMap<String, OpeningForm> = serde_json::from_slice(side).unwrap_or_default();
    let opening = |(field, form): (String, OpeningForm)| {
        let nonce = hex::decode(form.nonce).ok()?.try_into().ok()?;
        Some(Opening { field, nonce, value: form.value })
    };
    members.into_iter().filter_map(opening).collect()
}

/// Whether side data opens what a leaf commits to, and nothing else.
pub(crate) fn opens(leaf: &[u8], side: &[u8]) -> bool {
    // One of a form that is not known here has the right hash; nothing is known against what stands beside it.
    let Ok(leaf) = Leaf::decode(leaf) else { return true };
    let Ok(members) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(side) else { return false };
    let openings = openings_of(side);
    let fits = |opening: &Opening| leaf.field_text(&opening.field) == Some(opening.commitment().to_string().as_str());
    openings.len() == members.len() && openings.iter().all(fits)
}

/// Reads what stands beside a leaf, as files that somebody wrote to may hold it: how many openings it has.
pub fn check_openings(side: &[u8]) -> usize {
    openings_of(side).len()
}

/// Appends entries, and lets the server's health know how that went.
async fn append_all(domain: &Domain, entries: Vec<NewEntry>) -> Result<u64, JournalError> {
    let appended = domain.ledger.append(entries).await;
    domain.health.appended(&appended);
    appended.map_err(JournalError::Disk)
}

/// Moves all leaves of the outbox into the log, in order. A crash between the two writes leaves a leaf in both; it
/// is then logged twice, never lost.
pub(crate) async fn drain_outbox(domain: &Domain) -> Result<(), JournalError> {
    let _one_at_a_time = domain.draining.lock().await;
    loop {
        let name = domain.name.clone();
        let mut waiting = domain.store.query(move |reader| reader.outbox(&name, 256)).await?;
        // As many as one append takes; each alone is far below that.
        let mut bytes = 0;
        let fit = waiting.iter().take_while(|row| {
            bytes += row.leaf.len() + row.side.len() + 8;
            bytes <= APPEND_BYTES
        });
        let fit = fit.count().max(1);
        waiting.truncate(fit);
        let Some(last) = waiting.last().map(|leaf| leaf.sequence) else { return Ok(()) };
        let entries = waiting.into_iter().map(|row| NewEntry { leaf: row.leaf, side: row.side });
        append_all(domain, entries.collect()).await?;
        domain.store.write::<_, StoreError>(&domain.name, move |batch| batch.logged(last)).await?;
    }
}

/// Remembers in the database how far the log has come; an older copy of the log is then noticed at the next start.
pub(crate) async fn mark(domain: &Domain) -> Result<(), StoreError> {
    let size = domain.ledger.size();
    let ledger = domain.ledger.clone();
    let root = tokio::task::spawn_blocking(move || ledger.root(size)).await.ok().flatten();
    let Some(root) = root.filter(|_| size > 0) else { return Ok(()) };
    let mark = LogMark { size, root: root.to_vec() };
    domain.store.write(&domain.name, move |batch| batch.mark_log(&mark)).await
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
