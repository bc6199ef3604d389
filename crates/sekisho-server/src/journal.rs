//! Leaves: what the server writes to the log, and the way of the outbox into it.

use sekisho_disk::DiskError;
use sekisho_ledger::{Kind, Leaf, LeafError, Opening};
use sekisho_runtime::{now, random_bytes};
use sekisho_store::{Batch, StoreError};
use serde_json::{Map, json};
use std::sync::Arc;

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

/// A leaf being written, with what opens its personal fields.
pub(crate) struct Entry {
    leaf: Leaf,
    openings: Vec<Opening>,
}

impl Entry {
    pub(crate) fn new(domain: &Domain, kind: Kind) -> Self {
        Self { leaf: Leaf::new(kind, domain.name.clone(), now()), openings: vec![] }
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

    fn bytes(&self) -> Result<(Vec<u8>, Vec<u8>), LeafError> {
        let openings: Map<_, _> = self
            .openings
            .iter()
            .map(|o| (o.field.clone(), json!({"nonce": hex::encode(o.nonce), "value": o.value})))
            .collect();
        Ok((self.leaf.encode()?, serde_json::Value::Object(openings).to_string().into_bytes()))
    }

    /// Appends to the log. Durable when this returns (law L5).
    pub(crate) async fn append(self, domain: &Domain) -> Result<u64, JournalError> {
        let (leaf, side) = self.bytes()?;
        domain.ledger.append(leaf, side).await.map_err(JournalError::Disk)
    }

    /// Puts the leaf into the transaction of the change that it records.
    pub(crate) fn with_change(self, batch: &mut Batch<'_>) -> Result<(), JournalError> {
        let (leaf, side) = self.bytes()?;
        Ok(batch.log(&leaf, &side)?)
    }
}

/// Reads what opens a leaf's commitments back from its side data.
pub(crate) fn openings_of(side: &[u8]) -> Vec<Opening> {
    let members: Map<String, serde_json::Value> = serde_json::from_slice(side).unwrap_or_default();
    let opening = |(field, value): (&String, &serde_json::Value)| {
        let nonce = hex::decode(value.get("nonce")?.as_str()?).ok()?.try_into().ok()?;
        Some(Opening { field: field.clone(), nonce, value: value.get("value")?.as_str()?.to_owned() })
    };
    members.iter().filter_map(opening).collect()
}

/// Moves all leaves of the outbox into the log, in order. A crash between the two writes leaves a leaf in both; it
/// is then logged twice, never lost.
pub(crate) async fn drain_outbox(domain: &Domain) -> Result<(), JournalError> {
    loop {
        let waiting = domain.store.read(|reader| reader.outbox(&domain.name, 256))?;
        let Some(last) = waiting.last().map(|leaf| leaf.sequence) else { return Ok(()) };
        let appends = waiting.into_iter().map(|row| domain.ledger.append(row.leaf, row.side));
        // Sent one after the other without waiting between: the writer keeps their order, behind one fsync.
        for appended in futures_util::future::join_all(appends).await {
            appended.map_err(JournalError::Disk)?;
        }
        domain.store.write::<_, StoreError>(&domain.name, move |batch| batch.logged(last)).await?;
    }
}
