//! Private keys in PEM: `crypto.parse_private_keys` and `crypto.x509.parse_rsa_private_key`.

use base64::Engine;
use num_bigint::BigUint;

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::der::{BIT_STRING, Der, INTEGER, OCTET_STRING, OID, SEQUENCE, pem, trimmed};
use super::encoding::{STANDARD, URL_SAFE_NO_PAD, from_base64};
use super::keys::{Curve, EC_PUBLIC_KEY, ED25519};
use super::operand::string;
use crate::value::{Number, Object, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] =
    &[("crypto.parse_private_keys", parse_private_keys), ("crypto.x509.parse_rsa_private_key", to_jwk)];

/// A private key by its kind.
pub(super) enum PrivateKey {
    /// n, e, d, p, q, dp, dq and qi.
    Rsa([Vec<u8>; 8]),
    /// The curve, the secret number and the coordinates of the public point.
    Ec(Curve, Vec<u8>, Vec<u8>, Vec<u8>),
    /// The seed; the public key follows from it.
    Ed25519(Vec<u8>),
}

/// The tags `[0]` and `[1]`.
const TAG_0: u8 = 0xa0;
const TAG_1: u8 = 0xa1;

/// A key of PKCS #1 (RFC 8017 §A.1.2).
fn pkcs1(der: &[u8]) -> Option<PrivateKey> {
    let mut numbers = Der { rest: der }.enter(SEQUENCE)?;
    numbers.take(INTEGER)?;
    let mut next = || numbers.integer().map(<[u8]>::to_vec);
    Some(PrivateKey::Rsa([next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?]))
}

/// A key of SEC 1 (RFC 5915), whose curve may be given outside.
fn sec1(der: &[u8], curve: Option<Curve>) -> Option<PrivateKey> {
    let mut parts = Der { rest: der }.enter(SEQUENCE)?;
    parts.take(INTEGER)?;
    let secret = parts.take(OCTET_STRING)?.to_vec();
    let inside = parts.enter(TAG_0).and_then(|mut curve| curve.take(OID)).and_then(Curve::of_oid);
    let curve = inside.or(curve)?;
    let point = parts.enter(TAG_1)?.take(BIT_STRING)?;
    let (x, y) = point.strip_prefix(&[0, 4])?.split_at_checked(curve.size())?;
    Some(PrivateKey::Ec(curve, secret, x.to_vec(), y.to_vec()))
}

/// A key of PKCS #8 (RFC 5208).
fn pkcs8(der: &[u8]) -> Option<PrivateKey> {
    let mut parts = Der { rest: der }.enter(SEQUENCE)?;
    parts.take(INTEGER)?;
    let mut algorithm = parts.enter(SEQUENCE)?;
    let kind = algorithm.take(OID)?;
    let key = parts.take(OCTET_STRING)?;
    match kind {
        EC_PUBLIC_KEY => sec1(key, algorithm.take(OID).and_then(Curve::of_oid)),
        ED25519 => Some(PrivateKey::Ed25519(Der { rest: key }.take(OCTET_STRING)?.to_vec())),
        _ => pkcs1(key),
    }
}

/// The private key of one block of PEM; none for a block of another kind.
pub(super) fn from_block(label: &str, bytes: &[u8]) -> Result<Option<PrivateKey>, BuiltinError> {
    let key = match label {
        "RSA PRIVATE KEY" => pkcs1(bytes),
        "PRIVATE KEY" => pkcs8(bytes),
        "EC PRIVATE KEY" => sec1(bytes, None),
        _ => return Ok(None),
    };
    key.map(Some).ok_or_else(|| failure(format!("x509: failed to parse {}", label.to_lowercase())))
}

/// The keys of a text in PEM, or in base64 of PEM.
fn all(text: &str) -> Result<Vec<PrivateKey>, BuiltinError> {
    let decoded = from_base64(text).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut rest = decoded.as_deref().unwrap_or(text);
    let mut keys = Vec::new();
    while let Some(block) = pem(rest) {
        keys.extend(from_block(block.label, &block.bytes)?);
        rest = block.rest;
    }
    Ok(keys)
}

fn base64url(bytes: &[u8]) -> Value {
    Value::from(URL_SAFE_NO_PAD.encode(bytes))
}

pub(super) fn number(bytes: &[u8]) -> Value {
    Value::from(Number::from_bigint(BigUint::from_bytes_be(bytes).into()))
}

fn object(members: Vec<(&str, Value)>) -> Value {
    Value::from(members.into_iter().map(|(key, value)| (Value::from(key), value)).collect::<Object>())
}

/// The key as a JWK (RFC 7517).
fn jwk(key: &PrivateKey) -> Option<Value> {
    Some(match key {
        PrivateKey::Rsa(numbers) => {
            let names = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
            let members = names.into_iter().zip(numbers.iter().map(|number| base64url(number)));
            object(members.chain([("kty", Value::from("RSA"))]).collect())
        }
        PrivateKey::Ec(curve, secret, x, y) => object(vec![
            ("kty", Value::from("EC")),
            ("crv", Value::from(curve.name())),
            ("d", base64url(secret)),
            ("x", base64url(x)),
            ("y", base64url(y)),
        ]),
        PrivateKey::Ed25519(seed) => object(vec![
            ("kty", Value::from("OKP")),
            ("crv", Value::from("Ed25519")),
            ("d", base64url(seed)),
            ("x", base64url(&ed25519_public(seed)?)),
        ]),
    })
}

/// The public key of a seed.
fn ed25519_public(seed: &[u8]) -> Option<Vec<u8>> {
    use aws_lc_rs::signature::KeyPair;
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    Some(pair.public_key().as_ref().to_vec())
}

/// The key in the form that Go's `encoding/json` gives to its types.
pub(super) fn go_json(key: &PrivateKey) -> Option<Value> {
    Some(match key {
        PrivateKey::Rsa([n, e, d, p, q, dp, dq, qi]) => object(vec![
            ("N", number(n)),
            ("E", number(e)),
            ("D", number(d)),
            ("Primes", Value::from(vec![number(p), number(q)])),
            (
                "Precomputed",
                object(vec![
                    ("Dp", number(dp)),
                    ("Dq", number(dq)),
                    ("Qinv", number(qi)),
                    ("CRTValues", Value::from(Vec::new())),
                ]),
            ),
        ]),
        PrivateKey::Ec(_, secret, x, y) => {
            object(vec![("Curve", Value::empty_object()), ("X", number(x)), ("Y", number(y)), ("D", number(secret))])
        }
        PrivateKey::Ed25519(seed) => Value::from(STANDARD.encode([seed.as_slice(), &ed25519_public(seed)?].concat())),
    })
}

/// The public numbers of the key, to compare them with those of a certificate.
pub(super) fn public_part(key: &PrivateKey) -> Option<super::keys::PublicKey> {
    use super::keys::PublicKey;
    Some(match key {
        PrivateKey::Rsa([n, e, ..]) => PublicKey::Rsa(trimmed(n).to_vec(), trimmed(e).to_vec()),
        PrivateKey::Ec(curve, _, x, y) => PublicKey::Ec(*curve, [&[4], x.as_slice(), y].concat()),
        PrivateKey::Ed25519(seed) => PublicKey::Ed25519(ed25519_public(seed)?),
    })
}

fn parse_private_keys(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len().saturating_mul(16))?;
    if text.is_empty() {
        return done(Value::Null);
    }
    done(all(text)?.iter().filter_map(go_json).collect::<Vec<_>>())
}

fn to_jwk(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len().saturating_mul(16))?;
    if text.is_empty() {
        return Err(failure("input PEM data was empty"));
    }
    if !text.starts_with("-----BEGIN") {
        from_base64(text)?;
    }
    let keys = all(text)?;
    done(keys.first().and_then(jwk).unwrap_or(Value::Null))
}
