//! Who may receive which identity: entries and their match, the one issuing gate, SVID profiles and their
//! validation, trust bundles, and the rotation of authorities and SVIDs.
//!
//! Everything here is a function of values. This crate knows nothing of sockets, databases, protobuf or
//! clocks, and it holds no private key: signing is a `Signer` that the caller brings.

mod advice;
mod any_user;
mod bundle;
mod ca_rotation;
mod claims_extension;
mod csr;
mod der;
mod entry;
mod entry_declare;
mod entry_field;
mod entry_record;
mod gate;
mod handshake;
mod held_digest;
mod issuance;
mod jwks;
mod node;
mod pem;
mod renewal;
mod revocation;
mod why;
mod x509_authority;
mod x509_profile;
mod x509_validate;

pub use advice::{Advice, advice, loosened, with_digest};
pub use any_user::is_for_any_user;
pub use bundle::{Bundle, BundleError, JwtAuthority, X509Authority};
pub use ca_rotation::{Authority, CaPlan, CaRotation, Slot};
pub use claims_extension::CLAIMS_OID;
pub use csr::{Csr, CsrError, csr_der};
pub use entry::{Entry, EntryError, matches};
pub use entry_record::{
    entry_from_own_record, entry_from_record, entry_record, selectors_from_record, selectors_record,
};
pub use gate::{Allowed, Caller, Limits, Refusal, Request, Standing, WorkloadProof, authorize};
pub use handshake::is_tls13_handshake;
pub use held_digest::held_digest;
pub use issuance::{AgentKey, ISSUANCE_CLAIM, ISSUANCE_OID, Issuance, issuance_from_claim, issuance_to_claim};
pub use jwks::{JwksError, bundle_to_jwks, jwt_keys_to_jwks, parse_bundle, parse_bundle_map};
pub use node::Node;
pub use pem::pem;
pub use renewal::{renew_at, renew_at_with_jitter};
pub use revocation::{IssuedSvid, LONGEST_SVID_SECONDS, Revocation, Revocations, Revoked, narrows};
pub use why::{Difference, Near, WhyIdentity, near, why_identity};
pub use x509_profile::{
    BACKDATE_SECONDS, CaTemplate, Issuer, LeafTemplate, ProfileError, assemble_certificate, ca_tbs, leaf_tbs,
    subject_key_id,
};
pub use x509_validate::{LeafFacts, X509Error, authority_public_key, leaf_facts, split_chain, verify_svid};

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> sekisho_types::Digest {
    let mut out = [0u8; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    sekisho_types::Digest::new(out)
}
