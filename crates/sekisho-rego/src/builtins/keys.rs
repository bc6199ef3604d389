//! Keys that verify signatures: of certificates, public keys in PEM and JWK sets. The kind of a key decides which
//! algorithms it may be used with.

use aws_lc_rs::signature::{self, RsaParameters, UnparsedPublicKey, VerificationAlgorithm};
use aws_lc_rs::{hmac, signature::RsaPublicKeyComponents};
use base64::Engine;

use super::context::{BuiltinError, failure};
use super::der::{BIT_STRING, Der, OID, SEQUENCE, pem};
use super::encoding::URL_SAFE_NO_PAD;
use crate::value::{Object, Value};

/// A curve of NIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(super) fn of_oid(oid: &[u8]) -> Option<Curve> {
        match oid {
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(Curve::P256),
            [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(Curve::P384),
            [0x2b, 0x81, 0x04, 0x00, 0x23] => Some(Curve::P521),
            _ => None,
        }
    }

    fn named(name: &str) -> Option<Curve> {
        match name {
            "P-256" => Some(Curve::P256),
            "P-384" => Some(Curve::P384),
            "P-521" => Some(Curve::P521),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    /// The size of a coordinate in bytes.
    pub(super) fn size(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }
}

/// A key by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    /// The uncompressed point on a curve.
    Ec(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
    Symmetric(Vec<u8>),
    Other,
}

/// A key with what its JWK says of it.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) alg: String,
    pub(super) kid: String,
    pub(super) key: PublicKey,
}

/// The algorithms of tokens.
pub(super) const ALGORITHMS: [&str; 13] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "EdDSA",
];

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
pub(super) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The key in a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
pub(super) fn from_spki(der: &[u8]) -> Option<PublicKey> {
    let mut info = Der { rest: der }.enter(SEQUENCE)?;
    let mut algorithm = info.enter(SEQUENCE)?;
    let kind = algorithm.take(OID)?;
    let (0, bits) = info.take(BIT_STRING)?.split_first().map(|(unused, bits)| (*unused, bits))? else {
        return None;
    };
    match kind {
        RSA_ENCRYPTION => {
            let mut numbers = Der { rest: bits }.enter(SEQUENCE)?;
            let (modulus, exponent) = (numbers.integer()?, numbers.integer()?);
            Some(PublicKey::Rsa(modulus.to_vec(), exponent.to_vec()))
        }
        EC_PUBLIC_KEY => Some(match algorithm.take(OID).and_then(Curve::of_oid) {
            Some(curve) => PublicKey::Ec(curve, bits.to_vec()),
            None => PublicKey::Other,
        }),
        ED25519 => Some(PublicKey::Ed25519(bits.to_vec())),
        _ => Some(PublicKey::Other),
    }
}

/// The SubjectPublicKeyInfo of a certificate.
pub(super) fn spki_of(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.public_key().raw.to_vec())
}

/// The keys of a PEM block or of a JWK (set).
pub(super) fn parse(text: &str) -> Result<Vec<Key>, BuiltinError> {
    let Some(block) = pem(text) else {
        let wrong = || failure("failed to parse a JWK key (set)");
        let document = Value::from_json(text).map_err(|_| wrong())?;
        return from_jwks(document.as_object().ok_or_else(wrong)?).ok_or_else(wrong);
    };
    if !block.rest.is_empty() {
        return Err(failure("extra data after a PEM certificate block"));
    }
    let spki = match block.label {
        "CERTIFICATE" => {
            spki_of(&block.bytes).ok_or_else(|| failure("failed to parse a PEM certificate: x509: malformed"))?
        }
        "PUBLIC KEY" => block.bytes,
        _ => return Err(failure("failed to extract a Key from the PEM certificate")),
    };
    let key = from_spki(&spki).ok_or_else(|| failure("failed to parse a PEM public key"))?;
    Ok(vec![Key { alg: String::new(), kid: String::new(), key }])
}

fn from_jwks(document: &Object) -> Option<Vec<Key>> {
    let all = match document.get_str("keys") {
        Some(keys) => keys.as_array()?.iter().map(Value::as_object).collect::<Option<Vec<_>>>()?,
        None => vec![document],
    };
    let keys = all.into_iter().map(from_jwk).collect::<Option<Vec<_>>>()?;
    Some(keys.into_iter().filter(|key| key.alg.is_empty() || ALGORITHMS.contains(&key.alg.as_str())).collect())
}

/// A member of a JWK in base64url.
pub(super) fn jwk_bytes(jwk: &Object, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(jwk.get_str(name)?.as_str()?).ok()
}

/// A member of a JWK as a text.
pub(super) fn jwk_text<'a>(jwk: &'a Object, name: &str) -> &'a str {
    jwk.get_str(name).and_then(Value::as_str).unwrap_or_default()
}

/// The public part of a JWK.
fn from_jwk(jwk: &Object) -> Option<Key> {
    let key = match jwk_text(jwk, "kty") {
        "RSA" => {
            let (modulus, exponent) = (jwk_bytes(jwk, "n")?, jwk_bytes(jwk, "e")?);
            PublicKey::Rsa(super::der::trimmed(&modulus).to_vec(), super::der::trimmed(&exponent).to_vec())
        }
        "EC" => {
            let curve = Curve::named(jwk_text(jwk, "crv"))?;
            let (x, y) = (jwk_bytes(jwk, "x")?, jwk_bytes(jwk, "y")?);
            PublicKey::Ec(curve, [&[4], x.as_slice(), &y].concat())
        }
        "OKP" if jwk_text(jwk, "crv") == "Ed25519" => PublicKey::Ed25519(jwk_bytes(jwk, "x")?),
        "OKP" => PublicKey::Other,
        "oct" => PublicKey::Symmetric(jwk_bytes(jwk, "k")?),
        _ => return None,
    };
    Some(Key { alg: jwk_text(jwk, "alg").to_owned(), kid: jwk_text(jwk, "kid").to_owned(), key })
}

/// The digest of an algorithm of HMAC.
pub(super) fn hmac_algorithm(alg: &str) -> Option<hmac::Algorithm> {
    match alg {
        "HS256" => Some(hmac::HMAC_SHA256),
        "HS384" => Some(hmac::HMAC_SHA384),
        "HS512" => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

/// Did the key sign the message by the algorithm? A key of another kind did not.
pub(super) fn verifies(key: &PublicKey, alg: &str, message: &[u8], signature: &[u8]) -> bool {
    match key {
        PublicKey::Symmetric(secret) => hmac_algorithm(alg)
            .is_some_and(|algorithm| hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()),
        PublicKey::Rsa(n, e) => {
            let parameters: &RsaParameters = match alg {
                "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                _ => return false,
            };
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
        }
        PublicKey::Ec(curve, point) => {
            let algorithm: &'static dyn VerificationAlgorithm = match (alg, curve) {
                ("ES256", Curve::P256) => &signature::ECDSA_P256_SHA256_FIXED,
                ("ES384", Curve::P384) => &signature::ECDSA_P384_SHA384_FIXED,
                ("ES512", Curve::P521) => &signature::ECDSA_P521_SHA512_FIXED,
                _ => return false,
            };
            UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
        }
        PublicKey::Ed25519(bytes) => {
            alg == "EdDSA" && UnparsedPublicKey::new(&signature::ED25519, bytes).verify(message, signature).is_ok()
        }
        PublicKey::Other => false,
    }
}
