//! Evidence of a TPM 2.0: its endorsement key, an attestation key, a quote, and the keys that it certified.

mod attest;
mod credential;
mod endorsement;
mod kdf;
mod pcr;
mod public;
mod refusal;
mod signature;
mod verify;

pub use attest::{Attest, Attested, ClockInfo};
pub use credential::{Challenge, CredentialError, CredentialSeed, make_credential};
pub(crate) use endorsement::certificate_key;
pub use endorsement::{ENDORSEMENT_POLICY, EndorsementCertificate, EndorsementError};
pub use pcr::{PcrSelection, PcrValues};
pub use public::{Attributes, Curve, KeyMaterial, Public, Scheme, Symmetric};
pub use refusal::TpmRefusal;
pub use signature::{SignatureError, TpmSignature};
pub use verify::{
    CertifiedKey, Expected, ImaClaims, QuotedState, Signed, StateClaims, TpmClaims, TpmEvidence, appraise_entry,
    check_attestation_key, explain_boot, verify, verify_certified, verify_state,
};

#[cfg(test)]
mod files_tests;
#[cfg(test)]
mod tests;
