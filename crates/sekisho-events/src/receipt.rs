//! Receipts: a proof file with everything that it proves, so that verification needs only the file and a trust policy.
//! The leaf, its openings and, for a decision, the record and its place in the batch are in the proof's `extra` line as
//! JSON, in one form: JSON that re-encodes to other bytes is refused.

use std::collections::BTreeMap;

use sekisho_ledger::{BatchPath, Checkpoint, Hash, MerkleError, ProofError, TlogProof, TrustPolicy, leaf_hash};
use serde::{Deserialize, Serialize};

use crate::commitment::Opening;
use crate::error::LeafError;
use crate::kinds::Event;
use crate::leaf::Leaf;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("the leaf of the proof: {0}")]
    Leaf(#[from] LeafError),
    #[error("the proof's `extra` line is not that of a Sekisho receipt")]
    Extra,
    #[error("the record is not in the batch that the leaf names: {0}")]
    Batch(#[from] MerkleError),
    #[error("the proof carries a record, but its leaf is not that of a batch")]
    NotABatch,
    #[error("the proof says that the batch has {stated} records; its leaf says {logged}")]
    Count { stated: u64, logged: u64 },
}

/// What a receipt is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The leaf itself, with what opens its commitments.
    Leaf { openings: Vec<Opening> },
    /// One record of the batch that the leaf stands for.
    Record { record: String, place: BatchPath },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub leaf: Vec<u8>,
    pub subject: Subject,
    pub index: u64,
    pub path: Vec<Hash>,
    pub checkpoint: String,
}

/// A receipt whose every part was checked.
#[derive(Debug, Clone)]
pub struct VerifiedReceipt {
    pub leaf: Leaf,
    pub subject: Subject,
    pub index: u64,
    pub checkpoint: Checkpoint,
}

impl Receipt {
    pub fn parse(file: &str) -> Result<Self, ReceiptError> {
        let proof = TlogProof::parse(file)?;
        let extra: Extra = serde_json::from_slice(&proof.extra).map_err(|_| ReceiptError::Extra)?;
        let subject = match (extra.openings, extra.record, extra.batch) {
            (Some(openings), None, None) => Subject::Leaf { openings: openings_of(openings)? },
            (None, Some(record), Some(batch)) => Subject::Record { record, place: batch.place()? },
            _ => return Err(ReceiptError::Extra),
        };
        let leaf = extra.leaf.into_bytes();
        let receipt = Self { leaf, subject, index: proof.index, path: proof.path, checkpoint: proof.checkpoint };
        // Other cases, spaces, orders and repeated members mean the same; there is one form (law L3).
        if receipt.extra() == proof.extra { Ok(receipt) } else { Err(ReceiptError::Extra) }
    }

    /// Checks everything and returns what was checked.
    pub fn verify(&self, policy: &TrustPolicy) -> Result<VerifiedReceipt, ReceiptError> {
        let checkpoint = self.proof().verify(&leaf_hash(&self.leaf), policy)?;
        let leaf = match &self.subject {
            Subject::Leaf { openings } => Leaf::opened(&self.leaf, openings.clone())?,
            Subject::Record { record, place } => {
                let leaf = Leaf::decode(&self.leaf)?;
                let Event::DecisionsRecorded(batch) = &leaf.event else { return Err(ReceiptError::NotABatch) };
                // With the size from the leaf, the path's length and turns leave one index (RFC 6962 §2.1.1).
                if place.size != batch.count {
                    return Err(ReceiptError::Count { stated: place.size, logged: batch.count });
                }
                place.verify(record.as_bytes(), batch.root.as_bytes())?;
                leaf
            }
        };
        Ok(VerifiedReceipt { leaf, subject: self.subject.clone(), index: self.index, checkpoint })
    }

    fn proof(&self) -> TlogProof {
        let (path, checkpoint) = (self.path.clone(), self.checkpoint.clone());
        TlogProof { extra: self.extra(), index: self.index, path, checkpoint }
    }

    fn extra(&self) -> Vec<u8> {
        let (openings, record, batch) = match &self.subject {
            Subject::Leaf { openings } => {
                let form = |o: &Opening| OpeningForm { nonce: hex::encode(o.nonce), value: o.value.clone() };
                (Some(openings.iter().map(|o| (o.field.clone(), form(o))).collect()), None, None)
            }
            Subject::Record { record, place } => {
                let path = place.path.iter().map(hex::encode).collect();
                (None, Some(record.clone()), Some(PlaceForm { index: place.index, path, size: place.size }))
            }
        };
        let leaf = String::from_utf8_lossy(&self.leaf).into_owned();
        // Texts and numbers always have a form in JSON.
        serde_json::to_vec(&Extra { batch, leaf, openings, record }).unwrap_or_default()
    }
}

/// The `extra` line. Members are declared in byte order, which is the order in which they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extra {
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<PlaceForm>,
    leaf: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    openings: Option<BTreeMap<String, OpeningForm>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpeningForm {
    nonce: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceForm {
    index: u64,
    path: Vec<String>,
    size: u64,
}

impl PlaceForm {
    fn place(self) -> Result<BatchPath, ReceiptError> {
        let path: Option<Vec<Hash>> = self.path.iter().map(|hash| hex::decode(hash).ok()?.try_into().ok()).collect();
        Ok(BatchPath { index: self.index, size: self.size, path: path.ok_or(ReceiptError::Extra)? })
    }
}

fn openings_of(forms: BTreeMap<String, OpeningForm>) -> Result<Vec<Opening>, ReceiptError> {
    let opening = |(field, form): (String, OpeningForm)| {
        let nonce = hex::decode(form.nonce).ok()?.try_into().ok()?;
        Some(Opening { field, nonce, value: form.value })
    };
    forms.into_iter().map(opening).collect::<Option<_>>().ok_or(ReceiptError::Extra)
}

/// The proof file.
impl std::fmt::Display for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.proof().fmt(f)
    }
}

#[cfg(test)]
mod tests;
