//! Evidence in, claims out: what a node or a process shows, checked and turned into typed claims.
//!
//! [`Evidence`] is sealed: it comes from the verifiers of this crate and from nowhere else. This crate knows nothing of
//! who may have which identity; that is `sekisho-identity`'s gate, which judges what is made here.

pub mod boot;
mod bytes;
mod class;
mod derived;
mod ear;
mod ecdsa;
mod hash;
pub mod ima;
pub mod node;
mod path;
mod process;
mod sealed;
mod selector_form;
pub mod tpm;

pub use bytes::Malformed;
pub use class::{Age, Class, Form, KeyClass};
pub use ear::{EarContext, ear};
pub use hash::HashAlgorithm;
pub use node::{NodeCertificate, TokenError, X509PopError, answer, check_token, token_hash};
pub use process::{IMA, SYSTEMD, UNIX, process_evidence};
pub use sealed::{Evidence, EvidenceError, Piece};
pub use selector_form::{SelectorFormError, check_selector, is_unit_name};

pub(crate) fn sha256(bytes: &[u8]) -> sekisho_types::Digest {
    let mut out = [0u8; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    sekisho_types::Digest::new(out)
}
