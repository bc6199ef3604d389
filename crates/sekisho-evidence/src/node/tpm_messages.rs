//! Messages of attestation by TPM: JSON with bytes in base64, as x509pop's are.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_types::{Digest, parse_strict_json};
use serde_json::{Map, Value};

use crate::tpm::Public;

/// The PCRs that a quote covers: firmware and its settings (0 to 7), boot loader and kernel (8, 9, 11, 12, 14), files
/// that the kernel measured (10).
pub const QUOTED_PCRS: [u8; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];
pub(super) const MAX_MESSAGE_BYTES: usize = 64 * 1024;
const MAX_CHAIN: usize = 6;
/// Of a name and of a value that an agent reports of its kernel. What is kept of a node is bounded by it.
const MAX_KERNEL_BYTES: usize = 256;
const LABEL: &[u8] = b"sekisho tpm attestation 1";

/// What a node begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmOpening {
    /// The endorsement certificate (DER).
    pub ek_certificate: Vec<u8>,
    /// Authorities between it and one that the server trusts (DER); at most six.
    pub ek_chain: Vec<Vec<u8>>,
    /// `TPMT_PUBLIC`
    pub ek_public: Vec<u8>,
    /// `TPMT_PUBLIC`
    pub ak_public: Vec<u8>,
}

/// A credential that only the TPM with both keys can open, and a nonce for its quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmChallenge {
    pub credential: Vec<u8>,
    pub encrypted_seed: Vec<u8>,
    pub nonce: [u8; 32],
}

/// A quote and the PCR values behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotedPcrs {
    /// `TPMS_ATTEST`
    pub quote: Vec<u8>,
    /// `TPMT_SIGNATURE`
    pub signature: Vec<u8>,
    /// SHA-256 bank.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// What the agent reports of its kernel, by name.
    pub kernel: BTreeMap<String, String>,
}

/// The answer to a credential. On the wire it is authenticated with the credential's secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmAnswer {
    pub quoted: QuotedPcrs,
    /// The key of the certificate signing request, where it is in the TPM.
    pub certified: Option<CertifiedAnswer>,
}

/// A key that the attestation key certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedAnswer {
    /// `TPMT_PUBLIC`
    pub public: Vec<u8>,
    /// `TPMS_ATTEST`
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`
    pub signature: Vec<u8>,
}

impl CertifiedAnswer {
    pub(super) fn value(&self) -> Value {
        let members = [("public", &self.public), ("attest", &self.attest), ("signature", &self.signature)];
        Value::Object(members.into_iter().map(|(name, bytes)| (name.to_owned(), text(bytes))).collect())
    }

    pub(super) fn read(value: &Value) -> Option<Self> {
        Some(Self {
            public: member(value, "public")?,
            attest: member(value, "attest")?,
            signature: member(value, "signature")?,
        })
    }
}

/// What the quote signs beside the PCRs: the server's nonce, both keys and this connection. A quote for another
/// request, another key or another connection does not fit, so none can be relayed.
pub fn binding(nonce: &[u8; 32], ak: &Public, key: &Digest, exporter: &[u8; 32]) -> Vec<u8> {
    let ak = crate::sha256(&ak.name());
    crate::sha256(&[LABEL, nonce, ak.as_bytes(), key.as_bytes(), exporter].concat()).as_bytes().to_vec()
}

impl TpmOpening {
    pub fn encode(&self) -> Vec<u8> {
        let chain = self.ek_chain.iter().map(|der| text(der)).collect();
        let members = [
            ("ek_certificate", text(&self.ek_certificate)),
            ("ek_chain", Value::Array(chain)),
            ("ek_public", text(&self.ek_public)),
            ("ak_public", text(&self.ak_public)),
        ];
        object(members)
    }

    /// `None`: not this message.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = parse_strict_json(bytes, MAX_MESSAGE_BYTES).ok()?;
        let chain = message.get("ek_chain")?.as_array().filter(|chain| chain.len() <= MAX_CHAIN)?;
        Some(Self {
            ek_certificate: member(&message, "ek_certificate")?,
            ek_chain: chain.iter().map(decoded).collect::<Option<_>>()?,
            ek_public: member(&message, "ek_public")?,
            ak_public: member(&message, "ak_public")?,
        })
    }
}

impl TpmChallenge {
    pub fn encode(&self) -> Vec<u8> {
        object([
            ("credential", text(&self.credential)),
            ("encrypted_seed", text(&self.encrypted_seed)),
            ("nonce", text(&self.nonce)),
        ])
    }

    /// `None`: not this message.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = parse_strict_json(bytes, MAX_MESSAGE_BYTES).ok()?;
        Some(Self {
            credential: member(&message, "credential")?,
            encrypted_seed: member(&message, "encrypted_seed")?,
            nonce: member(&message, "nonce")?.try_into().ok()?,
        })
    }
}

impl QuotedPcrs {
    pub fn encode(&self) -> Vec<u8> {
        object(self.members())
    }

    pub(super) fn value(&self) -> Value {
        Value::Object(self.members().into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn members(&self) -> [(&'static str, Value); 4] {
        let pcrs = self.pcrs.iter().map(|(index, value)| (index.to_string(), text(value))).collect();
        let kernel = self.kernel.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
        [
            ("quote", text(&self.quote)),
            ("signature", text(&self.signature)),
            ("pcrs", Value::Object(pcrs)),
            ("kernel", Value::Object(kernel)),
        ]
    }

    /// `None`: not this message.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Self::read(&parse_strict_json(bytes, MAX_MESSAGE_BYTES).ok()?)
    }

    pub(super) fn read(message: &Value) -> Option<Self> {
        let pcrs = message.get("pcrs")?.as_object().filter(|pcrs| pcrs.len() <= 24)?;
        let one = |(index, value): (&String, &Value)| Some((index.parse().ok()?, decoded(value)?));
        // Absent in messages of an earlier release.
        let kernel =
            message.get("kernel").and_then(Value::as_object).filter(|all| all.len() <= 16).into_iter().flatten();
        let words = |(name, value): (&String, &Value)| {
            let value =
                value.as_str().filter(|value| value.len() <= MAX_KERNEL_BYTES && name.len() <= MAX_KERNEL_BYTES)?;
            Some((name.clone(), value.to_owned()))
        };
        Some(Self {
            quote: member(message, "quote")?,
            signature: member(message, "signature")?,
            pcrs: pcrs.iter().map(one).collect::<Option<_>>()?,
            kernel: kernel.map(words).collect::<Option<_>>()?,
        })
    }
}

impl TpmAnswer {
    /// With a code by the secret that the credential held.
    pub fn encode(&self, secret: &[u8], binding: &[u8]) -> Vec<u8> {
        let [quote, signature, pcrs, kernel] = self.quoted.members();
        let certified = self.certified.as_ref().map_or(Value::Null, CertifiedAnswer::value);
        let body = object([quote, signature, pcrs, kernel, ("certified", certified)]);
        let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &[binding, &body].concat());
        object([("body", text(&body)), ("code", text(code.as_ref()))])
    }

    /// Checks the code before it reads what the code covers. `None`: another secret, another binding, or not this
    /// message.
    pub fn decode(bytes: &[u8], secret: &[u8], binding: &[u8]) -> Option<Self> {
        let message = parse_strict_json(bytes, MAX_MESSAGE_BYTES).ok()?;
        let (body, code) = (member(&message, "body")?, member(&message, "code")?);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::verify(&key, &[binding, &body].concat(), &code).ok()?;
        let body = parse_strict_json(&body, MAX_MESSAGE_BYTES).ok()?;
        // Absent in answers of an earlier release.
        let certified = match body.get("certified").unwrap_or(&Value::Null) {
            Value::Null => None,
            certified => Some(CertifiedAnswer::read(certified)?),
        };
        Some(Self { quoted: QuotedPcrs::read(&body)?, certified })
    }
}

pub(super) fn text(bytes: &[u8]) -> Value {
    Value::String(BASE64.encode(bytes))
}

fn decoded(value: &Value) -> Option<Vec<u8>> {
    BASE64.decode(value.as_str()?).ok()
}

pub(super) fn member(message: &Value, name: &str) -> Option<Vec<u8>> {
    decoded(message.get(name)?)
}

pub(super) fn object<const N: usize>(members: [(&str, Value); N]) -> Vec<u8> {
    let members: Map<String, Value> = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Value::Object(members).to_string().into_bytes()
}
