//! Node attestation by a DevID certificate (IEEE 802.1AR) whose key is in a TPM, as SPIRE's agents send it
//! (`tpm_devid`).
//!
//! The exchange covers neither the connection nor the key of the node's SVID, so a node could pass the challenges on to
//! another machine's TPM. Therefore this evidence does not count as hardware: attestor `tpm` is for that.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_types::{Digest, EvidenceClass, Secret, Selector, SelectorSet, UnixTime, parse_strict_json};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::attestor::{AnchorFile, Conversation, Device, NodeAttestor, NodeError, Proved, Step, VerifierInputs};
use super::spire_names::{authority_selectors, fingerprint};
use super::tpm::{MANUFACTURERS, SOFTWARE_MODEL};
use crate::path::{AnyPurpose, PathError, path_ends_at, verify_path};
use crate::tpm::{
    Attest, CredentialSeed, EndorsementCertificate, KeyMaterial, Public, Signed, TpmRefusal, certificate_key,
    check_attestation_key, make_credential, verify_certified,
};
use crate::{Age, Class};

/// The node has a DevID certificate, and its key is in a TPM by a manufacturer that the server trusts.
pub static TPM_DEVID: Class = Class {
    name: "tpm_devid",
    about: EvidenceClass::Node,
    version: 1,
    age: Age::Lasting,
    is_hardware: false,
    selectors: &[],
    claims: &[],
};

static AUTHORITIES: AnchorFile = AnchorFile {
    flag: "tpm-devid-ca",
    variable: "SEKISHO_TPM_DEVID_CA",
    help: "PEM file with authorities of DevID certificates, which attest nodes of SPIRE's agents (tpm_devid). Their \
           TPMs' manufacturers are those of `--tpm-ca`",
    danger: None,
};

const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
const MAX_CHAIN: usize = 6;

/// Why a node's DevID is refused.
#[derive(Debug, thiserror::Error)]
pub enum DevIdError {
    #[error("the attestation data is not of tpm_devid's form: {0}")]
    Form(&'static str),
    #[error("the DevID certificate is not trusted here: {0}")]
    Path(String),
    #[error("no authority of DevID certificates is valid now; renew the file of `--tpm-devid-ca`, or check the clock")]
    NoValidAuthority,
    #[error("the DevID certificate is of another key than the one that the TPM certified")]
    OtherKey,
    #[error("the TPM is a program; a DevID needs a TPM in hardware")]
    Software,
    #[error("the answer does not fit the challenge and the DevID's key")]
    Proof,
    #[error("the TPM did not open the credential: its attestation key is not in the TPM of this endorsement key")]
    Activation,
    #[error(transparent)]
    Tpm(#[from] TpmRefusal),
}

impl From<DevIdError> for NodeError {
    fn from(error: DevIdError) -> Self {
        Self::Refused(error.into())
    }
}

/// What a node sends first.
struct Request {
    /// DER, leaf first.
    chain: Vec<Vec<u8>>,
    devid_public: Vec<u8>,
    ek_certificate: Vec<u8>,
    ek_public: Vec<u8>,
    ak_public: Vec<u8>,
    certified: Vec<u8>,
    signature: Vec<u8>,
}

fn decoded(value: &Value) -> Option<Vec<u8>> {
    value.as_str().and_then(|text| BASE64.decode(text).ok())
}

impl Request {
    /// The JSON of SPIRE's agents. Those before 1.6 send the certificate alone in place of a list.
    fn parse(payload: &[u8]) -> Result<Self, DevIdError> {
        let data = parse_strict_json(payload, MAX_PAYLOAD_BYTES).map_err(|_| DevIdError::Form("it is not JSON"))?;
        let field = |name: &'static str| data.get(name).and_then(decoded).ok_or(DevIdError::Form(name));
        let chain = match data.get("DevIDCert") {
            Some(Value::Array(items)) => items.iter().map(decoded).collect(),
            Some(one) => decoded(one).map(|der| vec![der]),
            None => None,
        };
        let chain: Option<Vec<_>> = chain.filter(|chain: &Vec<_>| (1..=MAX_CHAIN).contains(&chain.len()));
        Ok(Self {
            chain: chain.ok_or(DevIdError::Form("DevIDCert"))?,
            devid_public: field("DevIDPub")?,
            ek_certificate: field("EKCert")?,
            ek_public: field("EKPub")?,
            ak_public: field("AKPub")?,
            certified: field("CertifiedDevID")?,
            signature: field("CertificationSignature")?,
        })
    }
}

/// A DevID certificate with a path to an authority.
struct DevId {
    key: KeyMaterial,
    spki: Vec<u8>,
    /// When the first certificate of the path expires.
    ends_at: UnixTime,
    /// SHA-1 of the certificate, which names the agent as SPIRE does.
    fingerprint: String,
    device: Device,
    selectors: SelectorSet,
}

impl DevId {
    fn verify(chain: &[Vec<u8>], anchors: &[Vec<u8>], now: UnixTime) -> Result<Self, DevIdError> {
        let (leaf, intermediates) = chain.split_first().ok_or(DevIdError::Form("DevIDCert"))?;
        let authorities = verify_path(leaf, intermediates, anchors, now, AnyPurpose).map_err(|error| match error {
            PathError::Untrusted(why) => DevIdError::Path(why),
            PathError::NoValidAnchor => DevIdError::NoValidAuthority,
        })?;
        let form = DevIdError::Form("DevIDCert");
        let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Err(form) };
        let ends_at = path_ends_at(leaf, &authorities).ok_or(form)?;
        Ok(Self {
            key: certificate_key(&certificate).map_err(DevIdError::Form)?,
            spki: certificate.public_key().raw.to_vec(),
            ends_at,
            fingerprint: fingerprint(leaf),
            device: Device::certificate(&certificate),
            selectors: selectors(&certificate, &authorities),
        })
    }

    /// Whether the answer signs the challenge (RSASSA-PKCS1-v1_5 or ECDSA, with SHA-256).
    fn signed(&self, challenge: &[u8; 32], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match &self.key {
            KeyMaterial::Rsa { .. } => &RSA_PKCS1_2048_8192_SHA256,
            KeyMaterial::Ecc { point, .. } if point.len() == 65 => &ECDSA_P256_SHA256_ASN1,
            KeyMaterial::Ecc { .. } => &ECDSA_P384_SHA256_ASN1,
        };
        UnparsedPublicKey::new(algorithm, &self.spki).verify(challenge, signature).is_ok()
    }
}

/// As SPIRE's server names them.
fn selectors(leaf: &X509Certificate<'_>, authorities: &[Vec<u8>]) -> SelectorSet {
    let mut out = SelectorSet::new();
    let mut add = |text: String| out.extend(Selector::new(TPM_DEVID.name, &text).ok());
    for (what, name) in [("subject", leaf.subject()), ("issuer", leaf.issuer())] {
        if let Some(name) = name.iter_common_name().next().and_then(|name| name.as_str().ok()) {
            add(format!("{what}:cn:{name}"));
        }
    }
    authority_selectors(authorities).for_each(add);
    out
}

pub(super) struct TpmDevId;

impl NodeAttestor for TpmDevId {
    fn class(&self) -> &'static Class {
        &TPM_DEVID
    }

    fn anchor_file(&self) -> Option<&'static AnchorFile> {
        Some(&AUTHORITIES)
    }

    fn begin(&self, payload: &[u8], given: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        if given.anchors.is_empty() {
            return Err(NodeError::Off("DevID certificate", AUTHORITIES.flag));
        }
        if given.manufacturers.is_empty() {
            return Err(NodeError::Off("a TPM's DevID", MANUFACTURERS.flag));
        }
        let request = Request::parse(payload)?;
        let devid = DevId::verify(&request.chain, given.anchors, given.now)?;
        let (endorsement, ek, ak) = resident(&request, &devid, given.manufacturers, given.now)?;
        let fresh = given.session.fresh;
        let (secret, nonce) = (fresh(), fresh());
        let mut seed = [0; 48];
        seed.iter_mut().zip(fresh().into_iter().chain(fresh())).for_each(|(to, from)| *to = from);
        let made = make_credential(&ek, &ak.name(), &secret, CredentialSeed { bytes: &seed });
        let made = made.map_err(|error| NodeError::Refused(error.into()))?;
        let encoded = |bytes: &[u8]| BASE64.encode(bytes);
        let challenge = json!({
            "DevID": encoded(&nonce),
            "CredActivation": {"Credential": encoded(&made.credential), "Secret": encoded(&made.encrypted_seed)},
        });
        let waiting = Challenged { devid, endorsement, secret: Secret::new(secret), nonce };
        Ok(Step::Challenge(challenge.to_string().into_bytes(), Box::new(waiting)))
    }
}

/// Checks that the DevID's key is in the TPM of the attestation key, and that the endorsement key is one of a TPM. That
/// the last two are the same TPM is what the credential asks for.
fn resident(
    request: &Request,
    devid: &DevId,
    manufacturers: &[Vec<u8>],
    now: UnixTime,
) -> Result<(Digest, Public, Public), DevIdError> {
    let endorsement = EndorsementCertificate::verify(&request.ek_certificate, &[], manufacturers, now);
    let endorsement = endorsement.map_err(TpmRefusal::from)?;
    if endorsement.model.to_ascii_lowercase().contains(SOFTWARE_MODEL) {
        return Err(DevIdError::Software);
    }
    let ek = Public::parse(&request.ek_public).map_err(TpmRefusal::from)?;
    endorsement.check_key(&ek).map_err(TpmRefusal::from)?;
    let ak = Public::parse(&request.ak_public).map_err(TpmRefusal::from)?;
    check_attestation_key(&ak)?;
    // The agent chooses what is signed beside the key's name, and the challenges are fresh: it may be anything.
    let chosen = Attest::parse(&request.certified).map_err(TpmRefusal::from)?.extra_data;
    let signed = Signed { attest: &request.certified, signature: &request.signature };
    let certified = verify_certified(&ak, &request.devid_public, signed, &chosen)?;
    if certified.public.key != devid.key {
        return Err(DevIdError::OtherKey);
    }
    Ok((endorsement.spki, ek, ak))
}

/// Both challenges were sent. They are used for one answer and then forgotten.
struct Challenged {
    devid: DevId,
    /// Of its endorsement key.
    endorsement: Digest,
    secret: Secret<[u8; 32]>,
    nonce: [u8; 32],
}

impl Conversation for Challenged {
    fn go_on(self: Box<Self>, answer: &[u8], given: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        let Self { devid, endorsement, secret, nonce } = *self;
        let answer = parse_strict_json(answer, MAX_PAYLOAD_BYTES).map_err(|_| DevIdError::Form("it is not JSON"))?;
        let field = |name: &'static str| answer.get(name).and_then(decoded).ok_or(DevIdError::Form(name));
        if !devid.signed(&nonce, &field("DevID")?) {
            return Err(DevIdError::Proof.into());
        }
        let opened = field("CredActivation")?;
        if aws_lc_rs::constant_time::verify_slices_are_equal(&opened, secret.expose()).is_err() {
            return Err(DevIdError::Activation.into());
        }
        let id = given.trust_domain.workload(&format!("/spire/agent/tpm_devid/{}", devid.fingerprint))?;
        let times = (given.now, Some(devid.ends_at));
        let proved = Proved::new(&TPM_DEVID, times, devid.selectors, (id, true))?;
        Ok(Step::Proved(proved.of_device(devid.device).within(endorsement)))
    }
}
