//! Node attestation by a certificate and proof of its key (SPIRE's `x509pop`).
//!
//! Keys on P-256 and P-384 and RSA keys of 2048 to 4096 bits are accepted. SPIRE's agents sign RSA-PSS with the longest
//! salt.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, RSA_PSS_2048_8192_SHA256, RsaPssSaltLength, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_types::{
    EvidenceClass, Selector, SelectorSet, SignError, SignatureAlgorithm, Signer, TrustDomain, UnixTime, Verified,
    parse_strict_json,
};
use serde_json::{Value, json};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::attestor::{
    AnchorFile, Conversation, Device, NodeAttestor, NodeError, NodeProof, Proved, Session, Step, VerifierInputs,
};
use super::spire_names::{authority_selectors, fingerprint};
use crate::ecdsa::signature_der;
use crate::path::{AnyPurpose, PathError, path_ends_at, verify_path};
use crate::{Age, Class};

/// The node showed a certificate, and that it holds its key.
pub static X509POP: Class = Class {
    name: "x509pop",
    about: EvidenceClass::Node,
    version: 1,
    age: Age::Lasting,
    is_hardware: false,
    selectors: &[],
    claims: &[],
};

static AUTHORITIES: AnchorFile = AnchorFile {
    flag: "x509pop-ca",
    variable: "SEKISHO_X509POP_CA",
    help: "PEM file with authorities whose certificates attest nodes (x509pop)",
    danger: None,
};

const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
const MAX_CHAIN: usize = 6;

/// Why a node's certificate, or the proof of its key, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum X509PopError {
    #[error("the attestation data is not of x509pop's form")]
    Form,
    #[error("the certificate chain is not trusted here: {0}")]
    Path(String),
    #[error("the certificate is not meant for digital signatures")]
    KeyUsage,
    #[error("no authority that attests nodes here is valid now; renew the file of `--x509pop-ca`, or check the clock")]
    NoValidAuthority,
    #[error("the certificate's key is not on P-256 or P-384, nor RSA of 2048 to 4096 bits")]
    Key,
    #[error("the proof does not fit the challenge and the certificate's key")]
    Proof,
    #[error("the key did not sign: {0}")]
    Sign(#[from] SignError),
}

impl From<X509PopError> for NodeError {
    fn from(error: X509PopError) -> Self {
        Self::Refused(error.into())
    }
}

/// A node's certificate whose chain was verified. Possession of its key is not proved yet.
#[derive(Debug, Clone)]
pub struct NodeCertificate {
    key: Key,
    public_key: Vec<u8>,
    /// When the first certificate of the verified path ends.
    pub ends_at: UnixTime,
    /// SHA-1 of the certificate, which names the agent as SPIRE does.
    pub fingerprint: String,
    device: Device,
    pub selectors: SelectorSet,
}

const ECDSA_FORM: &str = "ecdsa_signature";

/// How the node's key signs.
#[derive(Debug, Clone, Copy)]
enum Key {
    Ecdsa(&'static dyn VerificationAlgorithm),
    RsaPss,
}

impl Key {
    fn of(key: &PublicKey<'_>) -> Result<Self, X509PopError> {
        match (key, key.key_size()) {
            (PublicKey::EC(_), 256) => Ok(Self::Ecdsa(&ECDSA_P256_SHA256_ASN1)),
            (PublicKey::EC(_), 384) => Ok(Self::Ecdsa(&ECDSA_P384_SHA256_ASN1)),
            (PublicKey::RSA(_), 2041..=4096) => Ok(Self::RsaPss),
            _ => Err(X509PopError::Key),
        }
    }

    /// The name under which challenge and answer stand.
    const fn form(self) -> &'static str {
        match self {
            Self::Ecdsa(_) => ECDSA_FORM,
            Self::RsaPss => "rsa_signature",
        }
    }
}

impl NodeCertificate {
    /// Reads `{"certificates": [base64 DER, …]}`, leaf first, and verifies the chain against `roots`.
    pub fn verify(
        payload: &[u8],
        roots: &[Vec<u8>],
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Result<Verified<Self>, X509PopError> {
        let data = parse_strict_json(payload, MAX_PAYLOAD_BYTES).map_err(|_| X509PopError::Form)?;
        let items = data.get("certificates").and_then(Value::as_array).ok_or(X509PopError::Form)?;
        let der = |item: &Value| item.as_str().and_then(|text| BASE64.decode(text).ok());
        let chain = items.iter().map(der).collect::<Option<Vec<_>>>().ok_or(X509PopError::Form)?;
        let Some((leaf, intermediates)) = chain.split_first().filter(|_| chain.len() <= MAX_CHAIN) else {
            return Err(X509PopError::Form);
        };
        let authorities = verify_path(leaf, intermediates, roots, now, AnyPurpose).map_err(|error| match error {
            PathError::Untrusted(why) => X509PopError::Path(why),
            PathError::NoValidAnchor => X509PopError::NoValidAuthority,
        })?;
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| X509PopError::Form)?;
        let usage = certificate.key_usage().map_err(|_| X509PopError::KeyUsage)?;
        if !usage.is_some_and(|usage| usage.value.digital_signature()) {
            return Err(X509PopError::KeyUsage);
        }
        let public_key = certificate.public_key();
        let key = Key::of(&public_key.parsed().map_err(|_| X509PopError::Key)?)?;
        let selectors = selectors(&certificate, &authorities, trust_domain);
        let fingerprint = fingerprint(leaf);
        let ends_at = path_ends_at(leaf, &authorities).ok_or(X509PopError::Form)?;
        let public_key = public_key.raw.to_vec();
        let device = Device::certificate(&certificate);
        Ok(Verified::assertion(Self { key, public_key, ends_at, fingerprint, device, selectors }))
    }

    /// The challenge with our nonce.
    pub fn challenge(&self, nonce: &[u8; 32]) -> Vec<u8> {
        let mut challenge = serde_json::Map::new();
        challenge.insert(self.key.form().to_owned(), json!({"nonce": BASE64.encode(nonce)}));
        Value::Object(challenge).to_string().into_bytes()
    }

    /// Checks the node's answer: its nonce, and a signature over both nonces.
    pub fn verify_answer(&self, nonce: &[u8; 32], answer: &[u8]) -> Result<(), X509PopError> {
        let answer = parse_strict_json(answer, MAX_PAYLOAD_BYTES).map_err(|_| X509PopError::Form)?;
        let part = |name: &str, longest: usize| {
            let text = answer.get(self.key.form()).and_then(|s| s.get(name)).and_then(Value::as_str);
            text.and_then(|text| BASE64.decode(text).ok()).filter(|b| b.len() <= longest).ok_or(X509PopError::Form)
        };
        let theirs = part("nonce", 32)?;
        if theirs.len() != 32 {
            return Err(X509PopError::Form);
        }
        let message = [nonce.as_slice(), &theirs].concat();
        let (algorithm, signature): (&'static dyn VerificationAlgorithm, Vec<u8>) = match self.key {
            Key::Ecdsa(algorithm) => (algorithm, signature_der(&part("r", 66)?, &part("s", 66)?)),
            Key::RsaPss => (LONGEST_SALT, part("signature", 512)?),
        };
        let key = UnparsedPublicKey::new(algorithm, &self.public_key);
        key.verify(&message, &signature).map_err(|_| X509PopError::Proof)
    }
}

pub(super) struct X509Pop;

impl NodeAttestor for X509Pop {
    fn class(&self) -> &'static Class {
        &X509POP
    }

    fn anchor_file(&self) -> Option<&'static AnchorFile> {
        Some(&AUTHORITIES)
    }

    fn begin(&self, payload: &[u8], given: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        if given.anchors.is_empty() {
            return Err(NodeError::Off("certificate", AUTHORITIES.flag));
        }
        let certificate = NodeCertificate::verify(payload, given.anchors, given.trust_domain, given.now)?;
        let nonce = (given.session.fresh)();
        let challenge = certificate.get().challenge(&nonce);
        Ok(Step::Challenge(challenge, Box::new(Challenged { certificate, nonce })))
    }
}

/// A certificate was shown, and its key was asked for.
struct Challenged {
    certificate: Verified<NodeCertificate>,
    nonce: [u8; 32],
}

impl Conversation for Challenged {
    fn go_on(self: Box<Self>, answer: &[u8], given: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        self.certificate.get().verify_answer(&self.nonce, answer)?;
        let certificate = self.certificate.into_inner();
        let id = given.trust_domain.workload(&format!("/spire/agent/x509pop/{}", certificate.fingerprint))?;
        let times = (given.now, Some(certificate.ends_at));
        let proved = Proved::new(&X509POP, times, certificate.selectors, (id, true))?;
        Ok(Step::Proved(proved.of_device(certificate.device)))
    }
}

/// The agent's side: a certificate chain (DER, leaf first) and its key.
pub struct X509PopProof<K> {
    pub chain: Vec<Vec<u8>>,
    pub key: K,
}

impl<K: Signer + Send + Sync> NodeProof for X509PopProof<K> {
    fn class(&self) -> &'static Class {
        &X509POP
    }

    fn payload(&self, _: &Session<'_>) -> Result<Vec<u8>, NodeError> {
        let certificates: Vec<String> = self.chain.iter().map(|der| BASE64.encode(der)).collect();
        Ok(json!({"certificates": certificates}).to_string().into_bytes())
    }

    fn answer(&self, challenge: &[u8], session: &Session<'_>) -> Result<Vec<u8>, NodeError> {
        Ok(answer(challenge, &(session.fresh)(), &self.key)?)
    }

    fn can_repeat(&self) -> bool {
        true
    }
}

/// Go's default, and so SPIRE's.
const LONGEST_SALT: &dyn VerificationAlgorithm =
    &const { RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) };

/// The node's side: answers a challenge with its key and a nonce of its own.
pub fn answer(challenge: &[u8], own_nonce: &[u8; 32], key: &dyn Signer) -> Result<Vec<u8>, X509PopError> {
    let challenge = parse_strict_json(challenge, MAX_PAYLOAD_BYTES).map_err(|_| X509PopError::Form)?;
    let is_rsa = key.algorithm() == SignatureAlgorithm::RsaPssSha256;
    let form = if is_rsa { Key::RsaPss.form() } else { ECDSA_FORM };
    let nonce = challenge.get(form).and_then(|c| c.get("nonce")).and_then(Value::as_str);
    let nonce = nonce.and_then(|text| BASE64.decode(text).ok()).filter(|n| n.len() == 32).ok_or(X509PopError::Form)?;
    let signature = key.sign(&[nonce.as_slice(), own_nonce].concat())?;
    let encode = |bytes: &[u8]| BASE64.encode(bytes);
    let proof = if is_rsa {
        json!({"nonce": encode(own_nonce), "signature": encode(&signature)})
    } else {
        let (r, s) = signature_parts(&signature).ok_or(X509PopError::Form)?;
        json!({"nonce": encode(own_nonce), "r": encode(r), "s": encode(s)})
    };
    let mut answer = serde_json::Map::new();
    answer.insert(form.to_owned(), proof);
    Ok(Value::Object(answer).to_string().into_bytes())
}

fn selectors(leaf: &X509Certificate<'_>, authorities: &[Vec<u8>], trust_domain: &TrustDomain) -> SelectorSet {
    let mut out = SelectorSet::new();
    let mut add = |text: String| out.extend(Selector::new("x509pop", &text).ok());
    if let Some(name) = leaf.subject().iter_common_name().next().and_then(|name| name.as_str().ok()) {
        add(format!("subject:cn:{name}"));
    }
    authority_selectors(authorities).for_each(&mut add);
    // A number, as SPIRE writes it: without DER's sign byte.
    let serial = leaf.raw_serial();
    let significant = serial.iter().position(|byte| *byte != 0).unwrap_or(serial.len().saturating_sub(1));
    add(format!("serialnumber:{}", hex::encode(serial.get(significant..).unwrap_or_default())));
    let names = leaf.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|san| &san.value.general_names) {
        // `x509pop://<trust domain>/<key>/<value>`.
        if let GeneralName::URI(uri) = name
            && let Some(rest) = uri.strip_prefix("x509pop://")
            && let Some((host, path)) = rest.split_once('/')
            && let Some((key, value)) = path.split_once('/')
            && host == trust_domain.as_str()
            && !key.is_empty()
            && !value.is_empty()
        {
            add(format!("san:{key}:{value}"));
        }
    }
    out
}

fn signature_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let integer = |bytes| {
        let (head, rest): (&[u8; 2], &[u8]) = <[u8]>::split_first_chunk(bytes)?;
        rest.split_at_checked(usize::from(head[1]))
    };
    let (r, rest) = integer(der.get(2..)?)?;
    let (s, _) = integer(rest)?;
    let strip = |bytes: &'_ [u8]| bytes.iter().position(|b| *b != 0).unwrap_or(0);
    Some((r.get(strip(r)..)?, s.get(strip(s)..)?))
}
