//! How nodes prove themselves: an exchange in steps, as in SPIRE's `AttestAgent`, with the rules of both sides.
//!
//! An attestor is a file here with both sides, its row in [`ATTESTORS`], and the source of the agent's proof
//! (`sekisho-agent`, `proofs.rs`). The server's adapter, its store and the gate name no attestor.

mod attestor;
mod join_token;
mod kernel;
mod spire_names;
mod tpm;
mod tpm_appraise;
mod tpm_devid;
mod tpm_logs;
mod tpm_messages;
mod tpm_record;
mod tpm_requests;
mod tpm_state;
mod workload_key;
mod x509pop;

use sekisho_types::{SelectorSet, UnixTime};

pub use attestor::{
    AnchorFile, Conversation, DeniedNode, Device, HardwareKey, NodeAttestor, NodeError, NodeProof, OneTime, Proved,
    Session, ShownEvidence, Step, Unvouched, VerifierInputs,
};
pub use join_token::{JOIN_TOKEN, JoinTokenProof, MIN_TOKEN_BYTES, TokenError, check_token, token_hash};
pub use kernel::KERNEL;
pub use tpm::{SOFTWARE_TPM, TPM};
pub use tpm_appraise::{AppraisedRecord, FilesShown, RecordRefusal, RecordTrust};
pub use tpm_devid::{DevIdError, TPM_DEVID};
pub use tpm_logs::TpmError;
pub use tpm_messages::{CertifiedAnswer, QUOTED_PCRS, QuotedPcrs, TpmAnswer, TpmChallenge, TpmOpening, binding};
pub use tpm_record::{RecordError, RecordedEndorsement, TpmRecord};
pub use tpm_requests::{Log, LogPart, MAX_PART_BYTES, TpmRequest, state_binding};
pub use workload_key::{KeyIssuance, ResidentKey, WorkloadKeyError};
pub use x509pop::{NodeCertificate, X509POP, X509PopError, X509PopProof, answer};

use crate::{Evidence, EvidenceError};

/// All attestors.
pub static ATTESTORS: [&dyn NodeAttestor; 5] =
    [&join_token::JoinToken, &x509pop::X509Pop, &tpm::HARDWARE, &tpm::SOFTWARE, &tpm_devid::TpmDevId];

/// The attestor of this name.
pub fn attestor(name: &str) -> Option<&'static dyn NodeAttestor> {
    ATTESTORS.into_iter().find(|attestor| attestor.class().name == name)
}

/// What a node proved when it attested, from what was stored then.
pub fn node_evidence(
    class: &str,
    measured_at: UnixTime,
    ends_at: Option<UnixTime>,
    selectors: SelectorSet,
) -> Result<Evidence, EvidenceError> {
    let known = attestor(class).ok_or_else(|| EvidenceError::UnknownClass(class.to_owned()))?;
    let (kernel, own): (SelectorSet, SelectorSet) = selectors.into_iter().partition(|one| one.kind() == KERNEL.name);
    let evidence = attestor::one_piece(known.class(), measured_at, ends_at, own)?;
    match kernel.is_empty() {
        true => Ok(evidence),
        false => evidence.with(attestor::one_piece(&KERNEL, measured_at, ends_at, kernel)?),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests sign")]
mod tests;
