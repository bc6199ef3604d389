//! Proof files (c2sp.org/tlog-proof@v1): an index, its path and a checkpoint, for use without a network.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::{Checkpoint, Hash, MerkleError, Note, PolicyError, TrustPolicy, verify_inclusion};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Longest proof file that is read, in bytes.
const MAX_PROOF_BYTES: usize = 512 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("this is not a proof file: the first line is not `{HEADER}`, or a part is missing")]
    Malformed,
    #[error("the proof file is longer than 512 KiB")]
    TooLong,
    #[error("a hash of the path is not 32 bytes in base64, or there are more than 63")]
    Path,
    #[error("the proof file is not in its one form: it differs from what its content is written as")]
    NotCanonical,
    #[error("the checkpoint is not trusted: {0}")]
    Checkpoint(#[from] PolicyError),
    #[error("the leaf is not in the log: {0}")]
    Inclusion(#[from] MerkleError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    pub extra: Vec<u8>,
    pub index: u64,
    pub path: Vec<Hash>,
    /// The signed checkpoint, as published.
    pub checkpoint: String,
}

impl TlogProof {
    /// Reads a proof file. One proof has one form: bytes that differ from it are refused, so that one
    /// proof has no second form and holds nothing unchecked.
    pub fn parse(file: &str) -> Result<Self, ProofError> {
        if file.len() > MAX_PROOF_BYTES {
            return Err(ProofError::TooLong);
        }
        let (head, checkpoint) = file.split_once("\n\n").ok_or(ProofError::Malformed)?;
        Note::parse(checkpoint).map_err(PolicyError::from)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(ProofError::Malformed);
        }
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) => {
                let encoded = line.strip_prefix("extra ").unwrap_or_default();
                BASE64.decode(encoded).map_err(|_| ProofError::Malformed)?
            }
            None => vec![],
        };
        let number = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(ProofError::Malformed)?;
        let index: u64 = number.parse().map_err(|_| ProofError::Malformed)?;
        if index.to_string() != number {
            return Err(ProofError::Malformed);
        }
        let hash = |line: &str| BASE64.decode(line).ok().and_then(|bytes| Hash::try_from(bytes).ok());
        let path = lines.map(|line| hash(line).ok_or(ProofError::Path)).collect::<Result<Vec<_>, _>>()?;
        if path.len() > 63 {
            return Err(ProofError::Path);
        }
        let proof = Self { extra, index, path, checkpoint: checkpoint.to_owned() };
        if proof.to_string() == file { Ok(proof) } else { Err(ProofError::NotCanonical) }
    }

    /// Checks that the leaf with `leaf_hash` is in a log that `policy` trusts, and returns its checkpoint.
    pub fn verify(&self, leaf_hash: &Hash, policy: &TrustPolicy) -> Result<Checkpoint, ProofError> {
        let checkpoint = policy.verify(&self.checkpoint)?;
        verify_inclusion(self.index, checkpoint.size, leaf_hash, &self.path, &checkpoint.root)?;
        Ok(checkpoint)
    }
}

impl std::fmt::Display for TlogProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", BASE64.encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64.encode(hash))?;
        }
        f.write_char('\n')?;
        f.write_str(&self.checkpoint)
    }
}
