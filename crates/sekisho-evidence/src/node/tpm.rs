//! Node attestation by a TPM 2.0: endorsement certificate, credential activation, quote.
//!
//! The node's ID follows from its endorsement key, so a TPM is one node permanently and no other can take its ID.

use std::collections::BTreeMap;

use sekisho_types::{Digest, EvidenceClass, Secret, SpiffeId};

use super::attestor::{AnchorFile, Conversation, NodeAttestor, NodeError, Proved, Step, Unvouched, VerifierInputs};
use super::tpm_logs::{Explaining, LOGGED_PCRS, TpmError, denied, denied_unread, denied_unrecorded, follows};
use super::tpm_messages::{CertifiedAnswer, QUOTED_PCRS, QuotedPcrs, TpmAnswer, TpmChallenge, TpmOpening, binding};
use super::tpm_record::{RecordedEndorsement, TpmRecord};
use super::tpm_requests::{TpmRequest, state_binding};
use super::tpm_state::{BANK, KnownState, KnownTpm};
use crate::class::Form::{Name, Pair, Sha256, Text};
use crate::tpm::{
    CredentialSeed, EndorsementCertificate, EndorsementError, Expected, PcrSelection, PcrValues, Public, QuotedState,
    Signed, StateClaims, TpmRefusal, check_attestation_key, make_credential, verify_certified, verify_state,
};
use crate::{Age, Class, Form, KeyClass};

const SELECTORS: &[(&str, Form)] = &[
    ("ek", Sha256),
    ("manufacturer", Text),
    ("model", Text),
    ("version", Text),
    ("pcr", Pair),
    ("secure_boot", Name),
    ("boot_image", Name),
    ("key_class", Name),
];
/// How swtpm's tools name the model, whatever the case.
pub(super) const SOFTWARE_MODEL: &str = "swtpm";

/// The node has a TPM by a manufacturer that the server trusts.
pub static TPM: Class = Class {
    name: "tpm",
    about: EvidenceClass::Node,
    version: 1,
    age: Age::Lasting,
    is_hardware: true,
    selectors: SELECTORS,
    claims: &[("ek", "tpm.ek"), ("secure_boot", "tpm.secure_boot"), ("key_class", "tpm.node_key_class")],
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
    claims: &[
        ("ek", "danger_software_tpm.ek"),
        ("secure_boot", "danger_software_tpm.secure_boot"),
        ("key_class", "danger_software_tpm.node_key_class"),
    ],
};

pub(super) static MANUFACTURERS: AnchorFile = AnchorFile {
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
        // A software TPM is allowed singly only where the danger is accepted.
        if given.anchors.is_empty() && (self.takes_software || !given.approvals) {
            return Err(NodeError::Off("TPM", self.anchors.flag));
        }
        let opening = TpmOpening::decode(payload).ok_or(TpmError::Form)?;
        let (certificate, chain) = (&opening.ek_certificate, &opening.ek_chain);
        let vouched = EndorsementCertificate::verify(certificate, chain, given.anchors, given.now);
        let is_vouched = vouched.is_ok();
        let endorsement = match vouched {
            Err(EndorsementError::Path(_) | EndorsementError::NoValidAnchor) if given.approvals => {
                EndorsementCertificate::unvouched(certificate, given.now)
            }
            judged => judged,
        };
        let endorsement = endorsement.map_err(|error| TpmError::Refused(error.into()))?;
        if !self.takes_software && is_software(&endorsement) {
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
        let id = given.trust_domain.workload(&format!("/spire/agent/{}/{}", self.class.name, endorsement.spki))?;
        let EndorsementCertificate { spki: ek, manufacturer, model, version, ends_at, .. } = endorsement;
        let (ak_public, key, kernel) = (opening.ak_public.clone(), KeyClass::Software, BTreeMap::new());
        let tpm = KnownTpm { ek, manufacturer, model, version, ends_at, ak_public, key, kernel };
        let secret = Secret::new(secret);
        let waiting = Challenged { class: self.class, id, tpm, opening, ak, is_vouched, secret, nonce };
        Ok(Step::Challenge(challenge.encode(), Box::new(waiting)))
    }

    fn reads(&self, remembered: &str) -> bool {
        KnownState::decode(remembered).is_some()
    }

    fn follows(&self, before: &str, proved: &Proved) -> Result<(), NodeError> {
        let states = (KnownState::decode(before), proved.remembers().and_then(KnownState::decode));
        let (Some(before), Some(after)) = states else { return Err(NodeError::Forgotten) };
        follows(&before, &after).map_err(|refusal| denied_unrecorded(proved.id(), refusal))
    }

    fn again(&self, node: &SpiffeId, given: &VerifierInputs<'_>) -> Option<Result<Step, NodeError>> {
        let before = (given.remembered)(node)?;
        let known = KnownState::decode(&before).and_then(|before| {
            let ak = Public::parse(&before.tpm.ak_public).ok()?;
            Some((before, ak))
        });
        let Some((before, ak)) = known else { return Some(Err(NodeError::Forgotten)) };
        let nonce = (given.session.fresh)();
        let waiting = Asked { class: self.class, id: node.clone(), before, ak, nonce };
        Some(Ok(Step::Challenge(TpmRequest::Quote { nonce }.encode(), Box::new(waiting))))
    }

    fn as_of_another(&self, remembered: &str) -> Option<String> {
        let mut known = KnownState::decode(remembered)?;
        known.tpm.ak_public = key_of_no_tpm();
        Some(known.encode())
    }

    fn shown(&self, remembered: &str) -> Option<Digest> {
        KnownState::decode(remembered)?.evidence
    }
}

/// `TPMT_PUBLIC` of an attestation key on P-256 whose private key is 1: it has the attributes of one, and no TPM makes
/// it.
fn key_of_no_tpm() -> Vec<u8> {
    /// The base point (SEC 2, §2.4.2).
    const X: [u8; 32] = [
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03,
        0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
    ];
    const Y: [u8; 32] = [
        0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce,
        0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
    ];
    // ECC with SHA-256, the attributes, no policy, no symmetric algorithm, ECDSA with SHA-256, P-256, no derivation.
    const HEAD: [u8; 20] = [0, 0x23, 0, 0x0b, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10];
    [&HEAD[..], &[0, 32], &X, &[0, 32], &Y].concat()
}

/// A credential was sent. The secret is used for one answer and then forgotten.
struct Challenged {
    class: &'static Class,
    id: SpiffeId,
    tpm: KnownTpm,
    opening: TpmOpening,
    ak: Public,
    is_vouched: bool,
    secret: Secret<[u8; 32]>,
    nonce: [u8; 32],
}

impl Conversation for Challenged {
    fn go_on(self: Box<Self>, answer: &[u8], given: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        let Self { class, id, tpm, opening, ak, is_vouched, secret, nonce } = *self;
        let bound = binding(&nonce, &ak, &given.session.key, &given.session.exporter);
        let answer = TpmAnswer::decode(answer, secret.expose(), &bound).ok_or(TpmError::Activation)?;
        let before = (given.remembered)(&id).as_deref().and_then(KnownState::decode);
        let (device, policy) = (tpm.device(), given.boot_policy.cloned());
        let TpmOpening { ek_certificate: certificate, ek_chain: chain, ek_public: public, .. } = opening;
        let record = TpmRecord {
            endorsement: Some(RecordedEndorsement { certificate, chain, public }),
            certified: answer.certified,
            ..record(class, id, (&tpm, nonce, answer.quoted), given)
        };
        // From here on this TPM has answered: what is refused is the state of its machine.
        let then = move || {
            let checked = verified(&ak, &record.quoted, &bound)
                .and_then(|quote| Ok((quote, key_class(&ak, record.certified.as_ref(), &bound, &record.key)?)));
            let (quote, key) = match checked {
                Ok(checked) => checked,
                Err(refusal) => return Err(denied(record, refusal)),
            };
            let tpm = KnownTpm { key, kernel: record.quoted.kernel.clone(), ..tpm };
            Explaining::begin(class, tpm, &quote, record, policy, before)
        };
        if is_vouched { then() } else { Ok(Step::Approval(Unvouched { device, then: Box::new(then) })) }
    }
}

/// A quote was asked for, of a TPM that is known.
struct Asked {
    class: &'static Class,
    id: SpiffeId,
    before: KnownState,
    ak: Public,
    nonce: [u8; 32],
}

impl Conversation for Asked {
    fn go_on(self: Box<Self>, answer: &[u8], given: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        let Self { class, id, before, ak, nonce } = *self;
        let bound = state_binding(&nonce, &ak, &given.session.key, &given.session.exporter);
        let Some(quoted) = QuotedPcrs::decode(answer) else { return Err(denied_unread(&id)) };
        let tpm = KnownTpm { kernel: quoted.kernel.clone(), ..before.tpm.clone() };
        let record = record(class, id, (&tpm, nonce, quoted), given);
        match verified(&ak, &record.quoted, &bound) {
            Ok(quote) => Explaining::begin(class, tpm, &quote, record, given.boot_policy.cloned(), Some(before)),
            Err(refusal) => Err(denied(record, refusal)),
        }
    }
}

/// What is known of an attestation when its quote has come.
fn record(
    class: &Class,
    node: SpiffeId,
    (tpm, nonce, quoted): (&KnownTpm, [u8; 32], QuotedPcrs),
    given: &VerifierInputs<'_>,
) -> TpmRecord {
    TpmRecord {
        attestor: class.name.to_owned(),
        node,
        at: given.now,
        endorsement: None,
        ak_public: tpm.ak_public.clone(),
        nonce,
        key: given.session.key,
        exporter: given.session.exporter,
        quoted,
        certified: None,
        event_log: None,
        ima_from: None,
        ima_log: None,
        anchors: given.anchors.iter().map(|anchor| crate::sha256(anchor)).collect(),
        boot_policy: given.boot_policy.map(|policy| policy.digest),
        boot_image: None,
        refused: None,
    }
}

/// Whether a TPM states that it is a program.
pub(super) fn is_software(endorsement: &EndorsementCertificate) -> bool {
    endorsement.model.to_ascii_lowercase().contains(SOFTWARE_MODEL)
}

/// The quote, without the logs that explain it.
fn verified(ak: &Public, quoted: &QuotedPcrs, bound: &[u8]) -> Result<StateClaims, TpmRefusal> {
    let state = QuotedState {
        quote: Signed { attest: &quoted.quote, signature: &quoted.signature },
        pcrs: &PcrValues { bank: BANK, values: quoted.pcrs.clone() },
        event_log: None,
        ima_log: None,
    };
    let expected = Expected {
        nonce: bound,
        selection: Some(PcrSelection::new(BANK, QUOTED_PCRS)),
        logged: &LOGGED_PCRS,
        needs_safe_clock: false,
        ima_state: None,
        ima_digests: None,
    };
    Ok(verify_state(ak, &state, &expected)?.into_inner())
}

/// Where the key is for which the SVID is asked. A certification of any other key is refused.
pub(super) fn key_class(
    ak: &Public,
    certified: Option<&CertifiedAnswer>,
    bound: &[u8],
    requested: &Digest,
) -> Result<KeyClass, TpmRefusal> {
    let Some(CertifiedAnswer { public, attest, signature }) = certified else { return Ok(KeyClass::Software) };
    let key = verify_certified(ak, public, Signed { attest, signature }, bound)?;
    match key.public.spki_der() {
        Some(spki) if crate::sha256(&spki) == *requested => Ok(KeyClass::TpmCertified),
        _ => Err(TpmRefusal::NotTheRequestedKey),
    }
}
