//! Evidence in, claims out: what a node or a process shows, checked and turned into typed claims.
//!
//! This crate knows nothing of who may have which identity; that is `sekisho-identity`'s gate.

mod process;
mod token;
mod x509pop;

pub use process::{ProcessError, node_evidence, process_evidence};
pub use token::{MIN_TOKEN_BYTES, TokenError, check_token, token_hash};
pub use x509pop::{NodeCertificate, X509PopError, answer};

pub(crate) fn sha256(bytes: &[u8]) -> sekisho_types::Digest {
    let mut out = [0u8; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    sekisho_types::Digest::new(out)
}
