//! Node attestation by a TPM 2.0: endorsement certificate, credential activation, quote.
//!
//! The node's ID follows from its endorsement key, so a TPM is one node permanently and no other can take its ID.

use sekisho_types::{EvidenceClass, Secret, Selector, SelectorSet};

use super::attestor::{AnchorFile, Conversation, NodeAttestor, NodeError, Proved, Step, VerifierInputs};
use super::tpm_messages::{QUOTED_PCRS, TpmAnswer, TpmChallenge, TpmOpening, binding};
use crate::boot::EventLog;
use crate::class::Form::{Name, Pair, Sha256, Text};
use crate::tpm::{
    CredentialError, CredentialSeed, EndorsementCertificate, Expected, PcrSelection, PcrValues, Public, QuotedState,
    Signed, TpmRefusal, check_attestation_key, make_credential, verify_state,
};
use crate::{Age, Class, Form, HashAlgorithm, Malformed};

const SELECTORS: &[(&str, Form)] =
    &[("ek", Sha256), ("manufacturer", Text), ("model", Text), ("version", Text), ("pcr", Pair), ("secure_boot", Name)];
/// What only firmware and boot loaders measure into, with an event each. The running system measures into others.
const LOGGED_PCRS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];
/// How swtpm's tools name the model, whatever the case.
const SOFTWARE_MODEL: &str = "swtpm";

/// The node has a TPM by a manufacturer that the server trusts.
pub static TPM: Class = Class {
    name: "tpm",
    about: EvidenceClass::Node,
    version: 1,
    age: Age::Lasting,
    is_hardware: true,
    selectors: SELECTORS,
    claims: &[("ek", "tpm.ek"), ("secure_boot", "tpm.secure_boot")],
};

/// The node has a TPM that is a program. Its evidence counts as hardware: the name says that this is dangerous, in the
/// SVID, in the log and in the server's flag.
pub static SOFTWARE_TPM: Class = Class {
    name: "danger_software_tpm",
    about: EvidenceClass::Node,
    version: 1,
    age: Age::Lasting,
    is_hardware: true,
    selectors: SELECTORS,
    claims: &[("ek", "danger_software_tpm.ek"), ("secure_boot", "danger_software_tpm.secure_boot")],
};

static MANUFACTURERS: AnchorFile = AnchorFile {
    flag: "tpm-ca",
    variable: "SEKISHO_TPM_CA",
    help: "PEM file with TPM manufacturers' authorities, whose endorsement certificates attest nodes (tpm)",
    danger: None,
};

static SOFTWARE_AUTHORITIES: AnchorFile = AnchorFile {
    flag: "danger-software-tpm-ca",
    variable: "SEKISHO_DANGER_SOFTWARE_TPM_CA",
    help: "PEM file with authorities of software TPMs; their evidence then counts as hardware. For trying things out",
    danger: Some("evidence of software TPMs counts as hardware"),
};

/// Why a node's TPM is refused. The node learns the kind, and no value that would pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TpmError {
    #[error("the attestation data is not of the form of `tpm`")]
    Form,
    #[error("a public area is malformed: {0}")]
    Public(#[from] Malformed),
    #[error("the TPM is a program; attest as `danger_software_tpm`, on a server that allows it")]
    Software,
    #[error("no credential can be made: {0}")]
    Credential(#[from] CredentialError),
    #[error("the answer does not show the credential's secret on this connection")]
    Activation,
    #[error(transparent)]
    Refused(#[from] TpmRefusal),
}

impl From<TpmError> for NodeError {
    fn from(error: TpmError) -> Self {
        Self::Refused(error.into())
    }
}

/// The attestor, for one class of TPMs.
pub(super) struct Tpm {
    class: &'static Class,
    anchors: &'static AnchorFile,
    takes_software: bool,
}

pub(super) static HARDWARE: Tpm = Tpm { class: &TPM, anchors: &MANUFACTURERS, takes_software: false };
pub(super) static SOFTWARE: Tpm = Tpm { class: &SOFTWARE_TPM, anchors: &SOFTWARE_AUTHORITIES, takes_software: true };

impl NodeAttestor for Tpm {
    fn class(&self) -> &'static Class {
        self.class
    }

    fn anchor_file(&self) -> Option<&'static AnchorFile> {
        Some(self.anchors)
    }

    fn begin(&self, payload: &[u8], given: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        if given.anchors.is_empty() {
            return Err(NodeError::Off("TPM", self.anchors.flag));
        }
        let opening = TpmOpening::decode(payload).ok_or(TpmError::Form)?;
        let (certificate, chain) = (&opening.ek_certificate, &opening.ek_chain);
        let endorsement = EndorsementCertificate::verify(certificate, chain, given.anchors, given.now)
            .map_err(|error| TpmError::Refused(error.into()))?;
        if !self.takes_software && endorsement.model.to_ascii_lowercase().contains(SOFTWARE_MODEL) {
            return Err(TpmError::Software.into());
        }
        let ek = Public::parse(&opening.ek_public).map_err(TpmError::Public)?;
        endorsement.check_key(&ek).map_err(|error| TpmError::Refused(error.into()))?;
        let ak = Public::parse(&opening.ak_public).map_err(TpmError::Public)?;
        check_attestation_key(&ak).map_err(TpmError::Refused)?;

        let fresh = given.session.fresh;
        let (secret, nonce) = (fresh(), fresh());
        let mut seed = [0; 48];
        seed.iter_mut().zip(fresh().into_iter().chain(fresh())).for_each(|(to, from)| *to = from);
        let made =
            make_credential(&ek, &ak.name(), &secret, CredentialSeed { bytes: &seed }).map_err(TpmError::from)?;
        let challenge = TpmChallenge { credential: made.credential, encrypted_seed: made.encrypted_seed, nonce };
        let waiting = Challenged { class: self.class, endorsement, ak, secret: Secret::new(secret), nonce };
        Ok(Step::Challenge(challenge.encode(), Box::new(waiting)))
    }
}

/// A credential was sent. The secret is used for one answer and then forgotten.
struct Challenged {
    class: &'static Class,
    endorsement: EndorsementCertificate,
    ak: Public,
    secret: Secret<[u8; 32]>,
    nonce: [u8; 32],
}

impl Conversation for Challenged {
    fn go_on(self: Box<Self>, answer: &[u8], given: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        let Self { class, endorsement, ak, secret, nonce } = *self;
        let bound = binding(&nonce, &ak, &given.session.key, &given.session.exporter);
        let answer = TpmAnswer::decode(answer, secret.expose(), &bound).ok_or(TpmError::Activation)?;
        let pcrs = PcrValues { bank: HashAlgorithm::Sha256, values: answer.pcrs };
        let event_log = answer.event_log.as_deref().map(EventLog::parse).transpose();
        let event_log = event_log.map_err(|error| TpmError::Refused(error.into()))?;
        let state = QuotedState {
            quote: Signed { attest: &answer.quote, signature: &answer.signature },
            pcrs: &pcrs,
            event_log: event_log.as_ref(),
            ima_log: None,
        };
        let expected = Expected {
            nonce: &bound,
            selection: Some(PcrSelection::new(HashAlgorithm::Sha256, QUOTED_PCRS)),
            logged: &LOGGED_PCRS,
            needs_safe_clock: false,
            ima_state: None,
            ima_digests: None,
        };
        let claims = verify_state(&ak, &state, &expected).map_err(TpmError::Refused)?;
        let secure_boot = claims.get().boot.as_ref().and_then(|boot| boot.secure_boot);
        let id = given.trust_domain.workload(&format!("/spire/agent/{}/{}", class.name, endorsement.spki))?;
        let times = (given.now, Some(endorsement.ends_at));
        Ok(Step::Proved(Proved::new(class, times, selectors(class, &endorsement, &pcrs, secure_boot), (id, true))?))
    }
}

fn selectors(
    class: &Class,
    endorsement: &EndorsementCertificate,
    pcrs: &PcrValues,
    secure_boot: Option<bool>,
) -> SelectorSet {
    let named = [
        format!("ek:{}", endorsement.spki),
        format!("manufacturer:{}", endorsement.manufacturer),
        format!("model:{}", endorsement.model),
        format!("version:{}", endorsement.version),
    ];
    // Only what the quote covers.
    let quoted = pcrs.values.iter().filter(|(index, _)| QUOTED_PCRS.contains(index));
    let quoted = quoted.map(|(index, value)| format!("pcr:{index}:{}", hex::encode(value)));
    let secure_boot = secure_boot.map(|on| format!("secure_boot:{on}"));
    named
        .into_iter()
        .chain(quoted)
        .chain(secure_boot)
        .filter_map(|value| Selector::new(class.name, &value).ok())
        .collect()
}
