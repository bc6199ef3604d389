//! Signatures by TPM keys: `TPMT_SIGNATURE` (TPM 2.0 Library, part 2, §11.3.4).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::public::{Curve, KeyMaterial, Public, padded, without_leading_zeros};
use crate::bytes::{Malformed, Reader};
use crate::ecdsa::signature_der;
use crate::hash::HashAlgorithm;

const RSASSA: u16 = 0x0014;
const RSAPSS: u16 = 0x0016;
const ECDSA: u16 = 0x0018;
const MAX_FIELD: usize = 1024;

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the signature's scheme is not that of the key")]
    OtherScheme,
    #[error(
        "the key's scheme is not ECDSA (P-256 with SHA-256, P-384 with SHA-384), RSASSA or RSAPSS (SHA-256, SHA-384)"
    )]
    Unsupported,
    #[error("the signature does not verify")]
    Wrong,
}

/// A signature as a TPM marshals it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmSignature {
    scheme: u16,
    hash: u16,
    value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Ecdsa { r: Vec<u8>, s: Vec<u8> },
    Rsa(Vec<u8>),
}

impl TpmSignature {
    /// # Errors
    /// Bytes that are not a `TPMT_SIGNATURE` by ECDSA, RSASSA or RSAPSS.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("TPMT_SIGNATURE", bytes);
        let (scheme, hash) = (reader.u16_be()?, reader.u16_be()?);
        let mut field = || reader.sized_be(MAX_FIELD).map(<[u8]>::to_vec);
        let value = match scheme {
            ECDSA => Value::Ecdsa { r: field()?, s: field()? },
            RSASSA | RSAPSS => Value::Rsa(field()?),
            _ => return Err(reader.refusal("the scheme is not ECDSA, RSASSA or RSAPSS")),
        };
        reader.finish()?;
        Ok(Self { scheme, hash, value })
    }

    /// Verifies it over `message`. The scheme must be the one that the key is fixed to.
    ///
    /// # Errors
    /// A key without a fixed scheme, another scheme, or a signature by another key or over another message.
    pub fn verify(&self, key: &Public, message: &[u8]) -> Result<(), SignatureError> {
        let fixed = key.scheme.ok_or(SignatureError::OtherScheme)?;
        if (fixed.id, fixed.hash) != (self.scheme, Some(self.hash)) {
            return Err(SignatureError::OtherScheme);
        }
        match (&key.key, &self.value) {
            (KeyMaterial::Ecc { curve, point }, Value::Ecdsa { r, s }) => {
                let algorithm = match (curve, HashAlgorithm::of_id(self.hash)) {
                    (Curve::P256, Some(HashAlgorithm::Sha256)) => &ECDSA_P256_SHA256_FIXED,
                    (Curve::P384, Some(HashAlgorithm::Sha384)) => &ECDSA_P384_SHA384_FIXED,
                    _ => return Err(SignatureError::Unsupported),
                };
                let integer = |value| padded(value, curve.coordinate_len()).map_err(|_| SignatureError::Wrong);
                let signature = [integer(r)?, integer(s)?].concat();
                let key = UnparsedPublicKey::new(algorithm, point);
                key.verify(message, &signature).map_err(|_| SignatureError::Wrong)
            }
            (KeyMaterial::Rsa { exponent, modulus, .. }, Value::Rsa(signature)) => {
                let exponent = exponent.to_be_bytes();
                let key = RsaPublicKeyComponents { n: modulus.as_slice(), e: without_leading_zeros(&exponent) };
                key.verify(self.rsa_parameters()?, message, signature).map_err(|_| SignatureError::Wrong)
            }
            _ => Err(SignatureError::OtherScheme),
        }
    }

    fn rsa_parameters(&self) -> Result<&'static RsaParameters, SignatureError> {
        match (self.scheme, HashAlgorithm::of_id(self.hash)) {
            (RSASSA, Some(HashAlgorithm::Sha256)) => Ok(&RSA_PKCS1_2048_8192_SHA256),
            (RSASSA, Some(HashAlgorithm::Sha384)) => Ok(&RSA_PKCS1_2048_8192_SHA384),
            (RSAPSS, Some(HashAlgorithm::Sha256)) => Ok(&RSA_PSS_2048_8192_SHA256),
            (RSAPSS, Some(HashAlgorithm::Sha384)) => Ok(&RSA_PSS_2048_8192_SHA384),
            _ => Err(SignatureError::Unsupported),
        }
    }

    /// The same signature in ASN.1 DER (RFC 3279 §2.2.3), if it is ECDSA.
    pub fn ecdsa_der(&self) -> Option<Vec<u8>> {
        match &self.value {
            Value::Ecdsa { r, s } if r.len() <= 48 && s.len() <= 48 => Some(signature_der(r, s)),
            _ => None,
        }
    }

    /// The hash of the scheme, which also makes a quote's `pcrDigest`.
    pub fn hash(&self) -> Option<HashAlgorithm> {
        HashAlgorithm::of_id(self.hash)
    }
}
