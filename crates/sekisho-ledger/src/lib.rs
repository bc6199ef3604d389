//! The Merkle log: tiles, signed checkpoints, proofs, and the verifier of all of them.
//!
//! Formats are those of C2SP: tlog-tiles, signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof and
//! tlog-policy. Hashing is RFC 6962 §2.1. This crate knows nothing of files, or of what a leaf says: reading a
//! stored hash is a closure, and a leaf is bytes.

mod batch;
mod checkpoint;
mod consistency;
mod merkle;
mod note;
mod policy;
mod proof;
#[cfg(test)]
mod test_log;
mod tile;
mod tile_request;

pub use batch::{Batch, BatchPath};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use consistency::{ConsistencyError, ConsistencyProof, check_consistent, check_growth, cosignatures};
pub use merkle::{
    Frontier, MerkleError, consistency_path, inclusion_path, leaf_hash, node_hash, verify_consistency, verify_inclusion,
};
pub use note::{Note, NoteError, NoteSigner, SignatureKind, VerifierKey};
pub use policy::{PolicyError, TrustPolicy, Witness};
pub use proof::{ProofError, TlogProof};
pub use tile::{Bundle, MAX_LEAF_BYTES, TILE_WIDTH, TileError, TilePath, bundle_path, tile_path};
pub use tile_request::TileRequest;

/// Hash of a leaf, a node or a tree.
pub type Hash = [u8; 32];

/// SHA-256 of `bytes`, for digests that leaves carry.
pub fn sha256_of(bytes: &[u8]) -> Hash {
    sha256(&[bytes])
}

pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0u8; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}
