//! Why a TPM's evidence is refused.

use super::endorsement::EndorsementError;
use super::signature::SignatureError;
use crate::bytes::Malformed;

/// Why evidence is refused: for the server's record. The node learns only the kind, never a value that would pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TpmRefusal {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Endorsement(#[from] EndorsementError),
    #[error("the attestation key lacks `{0}`")]
    AttestationKeyLacks(&'static str),
    #[error("the attestation key may decrypt, or has attributes that the specification reserves")]
    AttestationKeyMay,
    #[error("the certified key lacks `{0}`")]
    CertifiedKeyLacks(&'static str),
    #[error("the certified key may decrypt, or has attributes that the specification reserves")]
    CertifiedKeyMay,
    #[error("the certified key is not the key of the certificate signing request")]
    NotTheRequestedKey,
    #[error("the quote's signature: {0}")]
    QuoteSignature(SignatureError),
    #[error("the certification's signature: {0}")]
    CertifySignature(SignatureError),
    #[error("a certification was sent as a quote")]
    NotAQuote,
    #[error("a quote was sent as a certification")]
    NotACertification,
    #[error("the quote answers another challenge")]
    QuoteNonce,
    #[error("the certification answers another challenge")]
    CertifyNonce,
    #[error("the quote covers other PCRs than were asked for")]
    Selection,
    #[error("the PCR values do not give the quote's digest")]
    PcrDigest,
    #[error("the TPM's clock went back: `clockInfo.safe` is false")]
    ClockNotSafe,
    #[error("the certification names another key than the one that was sent")]
    OtherCertifiedKey,
    #[error("the event log: {0}")]
    Replay(#[from] crate::boot::ReplayError),
    #[error("the event log does not give PCR {0} its quoted value")]
    EventLog(u8),
    #[error("the event log is longer than 4 MiB, which no firmware writes; restart the machine")]
    EventLogTooLong,
    #[error("the machine had an event log when it attested before, and shows none now")]
    EventLogGone,
    #[error(
        "PCR {0} is not zero, and the node shows no event log that explains it; mount securityfs for the agent, and \
         run it as root"
    )]
    NoEventLog(u8),
    #[error("the attestation key is not a primary key of the endorsement hierarchy")]
    OtherHierarchy,
    #[error("PCR {0} changed while the machine ran: only a restart may change it")]
    ChangedPcr(u8),
    #[error(
        "the kernel measured files into PCR 10, and the node shows no IMA log; mount securityfs for the agent to read"
    )]
    NoImaLog,
    #[error("the IMA log is longer than {0} MiB; narrow the kernel's IMA policy, or restart the machine")]
    ImaLogTooLong(u64),
    #[error("no part of the IMA log gives PCR 10 its quoted value")]
    ImaLog,
    #[error("the quote does not cover PCR 10, which the IMA log needs")]
    ImaNotQuoted,
    #[error("the kernel could not measure `{0}`: it was written while it was in use")]
    ImaViolation(String),
    #[error("the measured file `{path}` ({digest}) is not allowed")]
    ImaDigest { path: String, digest: String },
}

impl TpmRefusal {
    /// Whether a signature or a certificate fails, rather than what was signed.
    pub const fn is_signature(&self) -> bool {
        matches!(
            self,
            Self::QuoteSignature(_)
                | Self::CertifySignature(_)
                | Self::Endorsement(EndorsementError::Path(_) | EndorsementError::NoValidAnchor)
        )
    }
}
