//! Node attestation by a certificate and proof of its key (SPIRE's `x509pop`).
//!
//! Keys on P-256 and P-384 are accepted. RSA is refused: SPIRE's agents sign RSA-PSS with the longest salt, which
//! our verifier does not accept.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, UnparsedPublicKey, VerificationAlgorithm};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rustls_pki_types::{CertificateDer, UnixTime as PkiTime};
use sekisho_types::{Selector, SignError, Signer, UnixTime, Verified, parse_strict_json};
use serde_json::{Value, json};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

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
    #[error("the certificate's key is not on P-256 or P-384")]
    Key,
    #[error("the proof does not fit the challenge and the certificate's key")]
    Proof,
    #[error("the key did not sign: {0}")]
    Sign(#[from] SignError),
}

/// A node's certificate whose chain was verified; that the node holds its key is not yet shown.
#[derive(Debug, Clone)]
pub struct NodeCertificate {
    algorithm: &'static dyn VerificationAlgorithm,
    public_key: Vec<u8>,
    /// SHA-1 of the certificate, which names the agent as SPIRE does.
    pub fingerprint: String,
    pub selectors: BTreeSet<Selector>,
}

impl NodeCertificate {
    /// Reads `{"certificates": [base64 DER, …]}`, leaf first, and verifies the chain against `roots`.
    pub fn verify(payload: &[u8], roots: &[Vec<u8>], now: UnixTime) -> Result<Verified<Self>, X509PopError> {
        let data = parse_strict_json(payload, MAX_PAYLOAD_BYTES).map_err(|_| X509PopError::Form)?;
        let items = data.get("certificates").and_then(Value::as_array).ok_or(X509PopError::Form)?;
        let der = |item: &Value| item.as_str().and_then(|text| BASE64.decode(text).ok());
        let chain = items.iter().map(der).collect::<Option<Vec<_>>>().ok_or(X509PopError::Form)?;
        let Some((leaf, intermediates)) = chain.split_first().filter(|_| chain.len() <= MAX_CHAIN) else {
            return Err(X509PopError::Form);
        };
        let authorities = verify_path(leaf, intermediates, roots, now)?;
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| X509PopError::Form)?;
        let usage = certificate.key_usage().map_err(|_| X509PopError::KeyUsage)?;
        if !usage.is_some_and(|usage| usage.value.digital_signature()) {
            return Err(X509PopError::KeyUsage);
        }
        let key = certificate.public_key();
        let algorithm: &'static dyn VerificationAlgorithm = match key.parsed().map_err(|_| X509PopError::Key)? {
            PublicKey::EC(point) if point.key_size() == 256 => &ECDSA_P256_SHA256_ASN1,
            PublicKey::EC(point) if point.key_size() == 384 => &ECDSA_P384_SHA256_ASN1,
            _ => return Err(X509PopError::Key),
        };
        let selectors = selectors(&certificate, &authorities);
        let fingerprint = hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, leaf));
        Ok(Verified::assertion(Self { algorithm, public_key: key.raw.to_vec(), fingerprint, selectors }))
    }

    /// The challenge with our nonce.
    pub fn challenge(nonce: &[u8; 32]) -> Vec<u8> {
        json!({"ecdsa_signature": {"nonce": BASE64.encode(nonce)}}).to_string().into_bytes()
    }

    /// Checks the node's answer: its nonce, and a signature over both nonces.
    pub fn verify_answer(&self, nonce: &[u8; 32], answer: &[u8]) -> Result<(), X509PopError> {
        let answer = parse_strict_json(answer, MAX_PAYLOAD_BYTES).map_err(|_| X509PopError::Form)?;
        let part = |name: &str| {
            let text = answer.get("ecdsa_signature").and_then(|s| s.get(name)).and_then(Value::as_str);
            text.and_then(|text| BASE64.decode(text).ok()).filter(|bytes| bytes.len() <= 66).ok_or(X509PopError::Form)
        };
        let (theirs, r, s) = (part("nonce")?, part("r")?, part("s")?);
        if theirs.len() != 32 {
            return Err(X509PopError::Form);
        }
        let message = [nonce.as_slice(), &theirs].concat();
        UnparsedPublicKey::new(self.algorithm, &self.public_key)
            .verify(&message, &signature_der(&r, &s))
            .map_err(|_| X509PopError::Proof)
    }
}

/// The node's side: answers a challenge with its key and a nonce of its own.
pub fn answer(challenge: &[u8], own_nonce: &[u8; 32], key: &dyn Signer) -> Result<Vec<u8>, X509PopError> {
    let challenge = parse_strict_json(challenge, MAX_PAYLOAD_BYTES).map_err(|_| X509PopError::Form)?;
    let nonce = challenge.get("ecdsa_signature").and_then(|c| c.get("nonce")).and_then(Value::as_str);
    let nonce = nonce.and_then(|text| BASE64.decode(text).ok()).filter(|n| n.len() == 32).ok_or(X509PopError::Form)?;
    let signature = key.sign(&[nonce.as_slice(), own_nonce].concat())?;
    let (r, s) = signature_parts(&signature).ok_or(X509PopError::Form)?;
    let encode = |bytes: &[u8]| BASE64.encode(bytes);
    let answer = json!({"ecdsa_signature": {"nonce": encode(own_nonce), "r": encode(r), "s": encode(s)}});
    Ok(answer.to_string().into_bytes())
}

/// The authorities of the path that was verified, and of no other that the node may have sent.
fn verify_path(
    leaf: &[u8],
    intermediates: &[Vec<u8>],
    roots: &[Vec<u8>],
    now: UnixTime,
) -> Result<Vec<Vec<u8>>, X509PopError> {
    let error = |e: webpki::Error| X509PopError::Path(e.to_string());
    let roots: Vec<CertificateDer<'_>> = roots.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<_> = roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let leaf = CertificateDer::from(leaf);
    let chain: Vec<CertificateDer<'_>> = intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let seconds = u64::try_from(now.seconds()).unwrap_or(0);
    let time = PkiTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let end_entity = EndEntityCert::try_from(&leaf).map_err(error)?;
    let verified = end_entity.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &chain,
        time,
        KeyUsage::client_auth(),
        None,
        None,
    );
    let path = verified.map_err(error)?;
    let anchors =
        roots.iter().filter(|root| anchor_from_trusted_cert(root).is_ok_and(|anchor| anchor == *path.anchor()));
    let between = path.intermediate_certificates().map(|certificate| certificate.der().to_vec());
    Ok(between.chain(anchors.map(|root| root.to_vec())).collect())
}

fn selectors(leaf: &X509Certificate<'_>, authorities: &[Vec<u8>]) -> BTreeSet<Selector> {
    let mut out = BTreeSet::new();
    let mut add = |text: String| out.extend(Selector::new("x509pop", &text).ok());
    if let Some(name) = leaf.subject().iter_common_name().next().and_then(|name| name.as_str().ok()) {
        add(format!("subject:cn:{name}"));
    }
    for authority in authorities {
        add(format!("ca:fingerprint:{}", hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, authority))));
    }
    add(format!("serialnumber:{}", hex::encode(leaf.raw_serial())));
    out
}

fn signature_der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let mut content: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
        if content.first().is_none_or(|first| first & 0x80 != 0) {
            content.insert(0, 0);
        }
        [&[0x02, content.len() as u8], content.as_slice()].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [&[0x30, body.len() as u8], body.as_slice()].concat()
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
