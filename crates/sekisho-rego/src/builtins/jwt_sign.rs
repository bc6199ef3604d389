//! `io.jwt.encode_sign` and `encode_sign_raw`: tokens signed with a key from a JWK (RFC 7515).
//!
//! Only algorithms whose signature is a function of key and message are there: HMAC, RSA by PKCS #1 and Ed25519. The
//! signatures of ECDSA and RSA-PSS are random, and a recorded decision could not be replayed.

use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaKeyPair};
use aws_lc_rs::{digest, hmac};
use base64::Engine;

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::der::{SEQUENCE, element, integer};
use super::encoding::{URL_SAFE_NO_PAD, to_json};
use super::keys::{ALGORITHMS, hmac_algorithm, jwk_bytes, jwk_text};
use super::operand::{any, string};
use crate::value::{Object, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] =
    &[("io.jwt.encode_sign", encode_sign), ("io.jwt.encode_sign_raw", encode_sign_raw)];

/// Work of a signature.
const SIGN_WORK: usize = 500_000;

fn encode_sign(cx: &mut Context, args: &[Value]) -> Outcome {
    let mut json = |index| any(args, index).and_then(|value| to_json(cx, value));
    let (header, payload, key) = (json(0)?, json(1)?, json(2)?);
    sign(cx, &header, &payload, &key)
}

fn encode_sign_raw(cx: &mut Context, args: &[Value]) -> Outcome {
    let key = string(args, 2)?;
    sign(cx, string(args, 0)?, string(args, 1)?, key)
}

fn first_key(text: &str) -> Result<Object, BuiltinError> {
    let wrong = || failure("failed to parse a JWK key (set)");
    let document = Value::from_json(text).map_err(|_| wrong())?;
    let key = match document.get(&Value::from("keys")) {
        None => document.as_object(),
        Some(keys) => keys.as_array().and_then(|keys| keys.first()).and_then(Value::as_object),
    };
    key.cloned().ok_or_else(wrong)
}

/// The algorithm that a header names.
fn algorithm(header: &str) -> Result<(String, Option<Value>), BuiltinError> {
    let wrong = |what: &str| failure(format!("missing or invalid 'alg' header: {what}"));
    let document = match Value::from_json(header) {
        Ok(document) => document,
        Err(_) if header.trim().is_empty() => {
            return Err(wrong("cannot parse JSON: cannot parse empty string; unparsed tail: \"\""));
        }
        Err(_) if header.trim_start().starts_with('{') => return Err(wrong("cannot parse JSON")),
        Err(_) => Value::Null,
    };
    let alg = document.get(&Value::from("alg")).and_then(Value::as_str);
    let alg = alg.ok_or_else(|| wrong("jwsbb: header \"alg\" not found"))?;
    if !ALGORITHMS.contains(&alg) {
        return Err(failure(format!("unknown JWS algorithm: {alg}")));
    }
    Ok((alg.to_owned(), document.get(&Value::from("typ")).cloned()))
}

fn sign(cx: &mut Context, header: &str, payload: &str, key: &str) -> Outcome {
    cx.spend((header.len() + payload.len() + key.len()).saturating_mul(8).saturating_add(SIGN_WORK))?;
    let key = first_key(key)?;
    let (alg, media) = algorithm(header)?;
    let is_jwt = media.is_none_or(|media| media.as_str() == Some("JWT"));
    if is_jwt && Value::from_json(payload).is_err() {
        return Err(failure("type is JWT but payload is not JSON"));
    }
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = signature(&key, &alg, signed.as_bytes())?;
    done(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn signature(key: &Object, alg: &str, message: &[u8]) -> Result<Vec<u8>, BuiltinError> {
    let wrong = || failure(format!("the key does not fit the algorithm {alg}"));
    match (jwk_text(key, "kty"), alg) {
        ("oct", _) => {
            let secret = jwk_bytes(key, "k").ok_or_else(wrong)?;
            let algorithm = hmac_algorithm(alg).ok_or_else(wrong)?;
            Ok(hmac::sign(&hmac::Key::new(algorithm, &secret), message).as_ref().to_vec())
        }
        ("RSA", "RS256") => rsa(key, &RSA_PKCS1_SHA256, &digest::SHA256, message).ok_or_else(wrong),
        ("RSA", "RS384") => rsa(key, &RSA_PKCS1_SHA384, &digest::SHA384, message).ok_or_else(wrong),
        ("RSA", "RS512") => rsa(key, &RSA_PKCS1_SHA512, &digest::SHA512, message).ok_or_else(wrong),
        ("OKP", "EdDSA") if jwk_text(key, "crv") == "Ed25519" => {
            let (seed, public) = (jwk_bytes(key, "d").ok_or_else(wrong)?, jwk_bytes(key, "x").ok_or_else(wrong)?);
            let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public).map_err(|_| wrong())?;
            Ok(pair.sign(message).as_ref().to_vec())
        }
        ("RSA", "PS256" | "PS384" | "PS512") | ("EC", "ES256" | "ES384" | "ES512") => {
            Err(failure(format!("not available: signatures by {alg} are random, so a decision could not be replayed")))
        }
        _ => Err(wrong()),
    }
}

fn rsa(
    key: &Object,
    padding: &'static dyn aws_lc_rs::signature::RsaEncoding,
    algorithm: &'static digest::Algorithm,
    message: &[u8],
) -> Option<Vec<u8>> {
    let mut numbers = integer(&[0]);
    for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        numbers.extend(integer(&jwk_bytes(key, name)?));
    }
    let pair = RsaKeyPair::from_der(&element(SEQUENCE, &numbers)).ok()?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign_digest(padding, &digest::digest(algorithm, message), &mut signature).ok()?;
    Some(signature)
}
