//! Receipts: a proof file that carries all it proves, so that it is checked with nothing but itself and a
//! trust policy. The leaf, what opens its commitments and, for a decision, the record and its place in the
//! batch stand in the proof's `extra` line as JSON.

use serde_json::{Map, Value as Json, json};

use crate::{
    BatchPath, Checkpoint, Hash, Kind, Leaf, LeafError, MerkleError, Opening, ProofError, TlogProof, TrustPolicy,
    leaf_hash,
};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("the proof carries no readable leaf: {0}")]
    Leaf(#[from] LeafError),
    #[error("the proof's `extra` line is not that of a Sekisho receipt")]
    Extra,
    #[error("the opening of `{0}` does not fit the commitment in the leaf")]
    Opening(String),
    #[error("the record is not in the batch that the leaf names: {0}")]
    Batch(#[from] MerkleError),
    #[error("a record stands in the proof, but its leaf is no batch")]
    NotABatch,
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
        let extra: Map<String, Json> = serde_json::from_slice(&proof.extra).map_err(|_| ReceiptError::Extra)?;
        let text = |name: &str| extra.get(name).and_then(Json::as_str).map(str::to_owned).ok_or(ReceiptError::Extra);
        let (expected, subject) = match extra.get("record") {
            None => (2, Subject::Leaf { openings: parse_openings(extra.get("openings"))? }),
            Some(_) => (3, Subject::Record { record: text("record")?, place: parse_place(extra.get("batch"))? }),
        };
        // A member that we do not know could be something that we fail to check (law L3).
        if extra.len() != expected {
            return Err(ReceiptError::Extra);
        }
        let leaf = text("leaf")?.into_bytes();
        Ok(Self { leaf, subject, index: proof.index, path: proof.path, checkpoint: proof.checkpoint })
    }

    /// Checks everything and returns what was checked.
    pub fn verify(&self, policy: &TrustPolicy) -> Result<VerifiedReceipt, ReceiptError> {
        let checkpoint = self.proof().verify(&leaf_hash(&self.leaf), policy)?;
        let leaf = Leaf::decode(&self.leaf)?;
        match &self.subject {
            Subject::Leaf { openings } => {
                for opening in openings {
                    if leaf.field_text(&opening.field) != Some(opening.commitment().to_string().as_str()) {
                        return Err(ReceiptError::Opening(opening.field.clone()));
                    }
                }
            }
            Subject::Record { record, place } => {
                let root = leaf.field_text("root").filter(|_| leaf.kind == Kind::DecisionBatch);
                let root = root.and_then(|hex| hex::decode(hex).ok()).and_then(|bytes| Hash::try_from(bytes).ok());
                place.verify(record.as_bytes(), &root.ok_or(ReceiptError::NotABatch)?)?;
            }
        }
        Ok(VerifiedReceipt { leaf, subject: self.subject.clone(), index: self.index, checkpoint })
    }

    fn proof(&self) -> TlogProof {
        let leaf = String::from_utf8_lossy(&self.leaf);
        let extra = match &self.subject {
            Subject::Leaf { openings } => {
                let openings: Map<String, Json> = openings
                    .iter()
                    .map(|o| (o.field.clone(), json!({"nonce": hex::encode(o.nonce), "value": o.value})))
                    .collect();
                json!({"leaf": leaf, "openings": openings})
            }
            Subject::Record { record, place } => {
                let path: Vec<String> = place.path.iter().map(hex::encode).collect();
                let batch = json!({"index": place.index, "size": place.size, "path": path});
                json!({"leaf": leaf, "record": record, "batch": batch})
            }
        };
        TlogProof {
            extra: extra.to_string().into_bytes(),
            index: self.index,
            path: self.path.clone(),
            checkpoint: self.checkpoint.clone(),
        }
    }
}

/// The proof file.
impl std::fmt::Display for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.proof().fmt(f)
    }
}

fn parse_openings(value: Option<&Json>) -> Result<Vec<Opening>, ReceiptError> {
    let members = value.and_then(Json::as_object).ok_or(ReceiptError::Extra)?;
    let opening = |(field, value): (&String, &Json)| {
        let nonce = hex::decode(value.get("nonce")?.as_str()?).ok()?.try_into().ok()?;
        Some(Opening { field: field.clone(), nonce, value: value.get("value")?.as_str()?.to_owned() })
    };
    members.iter().map(|member| opening(member).ok_or(ReceiptError::Extra)).collect()
}

fn parse_place(value: Option<&Json>) -> Result<BatchPath, ReceiptError> {
    let read = |value: &Json| {
        let hash = |hash: &Json| hex::decode(hash.as_str()?).ok()?.try_into().ok();
        let path = value.get("path")?.as_array()?.iter().map(hash).collect::<Option<Vec<Hash>>>()?;
        Some(BatchPath { index: value.get("index")?.as_u64()?, size: value.get("size")?.as_u64()?, path })
    };
    value.and_then(read).ok_or(ReceiptError::Extra)
}
