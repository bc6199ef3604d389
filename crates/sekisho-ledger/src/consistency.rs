//! Consistency proofs between two checkpoints, in the form in which a log sends one to a witness
//! (c2sp.org/tlog-witness, "add-checkpoint"): `old N`, the path, an empty line, the newer checkpoint.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::note::{Note, parse_signature};
use crate::{
    Checkpoint, Hash, MerkleError, NoteError, PolicyError, TrustPolicy, VerifierKey, sha256, verify_consistency,
};

/// Longest proof that is read, in bytes: 63 hashes and a note.
const MAX_BYTES: usize = 256 * 1024;
/// What c2sp.org/tlog-witness allows.
const MAX_HASHES: usize = 63;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsistencyError {
    #[error("this is not a consistency proof: `old <size>`, lines of base64, an empty line and a checkpoint")]
    Malformed,
    #[error("the consistency proof is not in its one form: it differs from what its content is written as")]
    NotCanonical,
    #[error("the checkpoint is not trusted: {0}")]
    Checkpoint(#[from] PolicyError),
    #[error("the checkpoints are of two logs: `{0}` and `{1}`")]
    Origins(String, String),
    #[error("the proof begins at size {proof}, the older checkpoint has size {checkpoint}; ask for a proof from there")]
    OldSize { proof: u64, checkpoint: u64 },
    #[error(
        "the checkpoints have sizes {old} and {new}, and there is no proof between them; \
            `sekisho prove <id> --consistent-with <file>` gets it"
    )]
    NoProof { old: u64, new: u64 },
    #[error("the consistency proof leads to another checkpoint than this one")]
    OtherCheckpoint,
    #[error("the older log is not the beginning of the newer one: {0}")]
    Fork(#[from] MerkleError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    pub old_size: u64,
    pub path: Vec<Hash>,
    /// The newer checkpoint, signed.
    pub checkpoint: String,
}

impl ConsistencyProof {
    pub fn parse(text: &str) -> Result<Self, ConsistencyError> {
        if text.len() > MAX_BYTES {
            return Err(ConsistencyError::Malformed);
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ConsistencyError::Malformed)?;
        Note::parse(checkpoint).map_err(PolicyError::from)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(ConsistencyError::Malformed)?;
        let old_size = old.parse().map_err(|_| ConsistencyError::Malformed)?;
        let hash = |line: &str| BASE64.decode(line).ok().and_then(|bytes| Hash::try_from(bytes).ok());
        let path: Option<Vec<Hash>> = lines.map(hash).collect();
        let path = path.filter(|path| path.len() <= MAX_HASHES).ok_or(ConsistencyError::Malformed)?;
        let proof = Self { old_size, path, checkpoint: checkpoint.to_owned() };
        if proof.to_string() == text { Ok(proof) } else { Err(ConsistencyError::NotCanonical) }
    }

    /// Checks that the log of `old`, a checkpoint that was verified, is the beginning of this proof's, and returns the
    /// newer checkpoint.
    pub fn verify(&self, old: &Checkpoint, policy: &TrustPolicy) -> Result<Checkpoint, ConsistencyError> {
        let new = policy.verify(&self.checkpoint)?;
        if old.origin != new.origin {
            return Err(ConsistencyError::Origins(old.origin.clone(), new.origin));
        }
        if old.size != self.old_size {
            return Err(ConsistencyError::OldSize { proof: self.old_size, checkpoint: old.size });
        }
        check_growth(old, &new, &self.path)?;
        Ok(new)
    }
}

/// Checks that two verified checkpoints are of one history: the tree of the smaller is the beginning of the larger
/// one's, by `proof` if their sizes differ.
pub fn check_consistent(
    one: &Checkpoint,
    other: &Checkpoint,
    proof: Option<&ConsistencyProof>,
    policy: &TrustPolicy,
) -> Result<(), ConsistencyError> {
    let (old, new) = if one.size <= other.size { (one, other) } else { (other, one) };
    if old.origin != new.origin {
        return Err(ConsistencyError::Origins(old.origin.clone(), new.origin.clone()));
    }
    if old.size == new.size {
        return Ok(check_growth(old, new, &[])?);
    }
    let proof = proof.ok_or(ConsistencyError::NoProof { old: old.size, new: new.size })?;
    if proof.verify(old, policy)? == *new { Ok(()) } else { Err(ConsistencyError::OtherCheckpoint) }
}

/// Whether the tree of `old` is the beginning of the tree of `new`. The empty tree is that of every one, by an empty
/// path.
pub fn check_growth(old: &Checkpoint, new: &Checkpoint, path: &[Hash]) -> Result<(), MerkleError> {
    if old.size > 0 {
        return verify_consistency(old.size, new.size, &old.root, &new.root, path);
    }
    match (path.is_empty(), old.root == sha256(&[])) {
        (false, _) => Err(MerkleError::PathLength),
        (_, false) => Err(MerkleError::RootMismatch),
        _ => Ok(()),
    }
}

impl std::fmt::Display for ConsistencyProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// The signature lines of `answer` by `witness` over the note `checkpoint`, each ending in a newline. Lines by other
/// keys are passed over (c2sp.org/tlog-witness); a wrong one by this key is an error, and so is an answer without any.
pub fn cosignatures(checkpoint: &str, answer: &str, witness: &VerifierKey) -> Result<String, NoteError> {
    let note = Note::parse(checkpoint)?;
    let mut lines = String::new();
    for line in answer.strip_suffix('\n').ok_or(NoteError::MalformedSignature)?.split('\n').take(64) {
        let (name, id, signature) = parse_signature(line)?;
        if name == witness.name() && id == witness.id() && lines.is_empty() {
            witness.verify(note.text(), &signature)?;
            lines.push_str(line);
            lines.push('\n');
        }
    }
    if lines.is_empty() { Err(NoteError::NoSignatures) } else { Ok(lines) }
}

#[cfg(test)]
mod tests;
