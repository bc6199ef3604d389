use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sekisho_types::{Claimed, SpiffeId, UnixTime, Verified, parse_strict_json};
use serde_json::{Map, Value};

use crate::{JwtError, JwtSvid, Rules, TokenKey};

/// Longest token that is read, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

struct Parts<'a> {
    signed: &'a str,
    header: Map<String, Value>,
    payload: Map<String, Value>,
    signature: Vec<u8>,
}

/// The subject that a token claims, to choose the trust domain whose keys may vouch for it.
pub fn claims_unverified(token: &str) -> Result<Claimed<SpiffeId>, JwtError> {
    let parts = split(token)?;
    algorithm(&parts.header)?;
    subject(&parts.payload).map(Claimed::new)
}

/// Verifies a JWT-SVID with the keys of its subject's trust domain (JWT-SVID.md §4).
pub fn verify_jwt_svid(token: &str, keys: &[TokenKey], rules: &Rules<'_>) -> Result<Verified<JwtSvid>, JwtError> {
    let parts = split(token)?;
    let algorithm = algorithm(&parts.header)?;
    check_header(&parts.header)?;
    let key_id = match parts.header.get("kid") {
        Some(Value::String(id)) => id,
        Some(_) => return Err(JwtError::Header),
        None => return Err(JwtError::NoKeyId),
    };
    let key = keys.iter().find(|key| key.key_id == *key_id).ok_or(JwtError::UnknownKey)?;
    UnparsedPublicKey::new(algorithm, &key.public_key)
        .verify(parts.signed.as_bytes(), &parts.signature)
        .map_err(|_| JwtError::Signature)?;
    let subject = subject(&parts.payload)?;
    check_audience(&parts.payload, rules)?;
    let (issued_at, expires_at) = check_times(&parts.payload, rules)?;
    let issuer = text(&parts.payload, "iss")?;
    if rules.issuer.is_some_and(|wanted| issuer != Some(wanted)) {
        return Err(JwtError::Issuer);
    }
    if text(&parts.payload, "jti")?.is_some_and(|id| rules.revoked_token_ids.contains(id)) {
        return Err(JwtError::Revoked);
    }
    Ok(Verified::assertion(JwtSvid { subject, expires_at, issued_at, claims: parts.payload }))
}

fn split(token: &str) -> Result<Parts<'_>, JwtError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(JwtError::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::NotCompact)?;
    let (header, payload) = signed.split_once('.').filter(|(_, p)| !p.contains('.')).ok_or(JwtError::NotCompact)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::NotCompact);
    Ok(Parts {
        signed,
        header: object(&decode(header)?)?,
        payload: object(&decode(payload)?)?,
        signature: decode(signature)?,
    })
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, JwtError> {
    match parse_strict_json(bytes, MAX_TOKEN_BYTES)? {
        Value::Object(members) => Ok(members),
        _ => Err(JwtError::NotCompact),
    }
}

/// Before all other work: an algorithm outside the table of JWT-SVID.md §2.1 is refused.
fn algorithm(header: &Map<String, Value>) -> Result<&'static dyn VerificationAlgorithm, JwtError> {
    match header.get("alg").and_then(Value::as_str) {
        Some("ES256") => Ok(&signature::ECDSA_P256_SHA256_FIXED),
        Some("ES384") => Ok(&signature::ECDSA_P384_SHA384_FIXED),
        Some("ES512") => Ok(&signature::ECDSA_P521_SHA512_FIXED),
        Some("RS256") => Ok(&signature::RSA_PKCS1_2048_8192_SHA256),
        Some("RS384") => Ok(&signature::RSA_PKCS1_2048_8192_SHA384),
        Some("RS512") => Ok(&signature::RSA_PKCS1_2048_8192_SHA512),
        Some("PS256") => Ok(&signature::RSA_PSS_2048_8192_SHA256),
        Some("PS384") => Ok(&signature::RSA_PSS_2048_8192_SHA384),
        Some("PS512") => Ok(&signature::RSA_PSS_2048_8192_SHA512),
        _ => Err(JwtError::Algorithm),
    }
}

fn check_header(header: &Map<String, Value>) -> Result<(), JwtError> {
    if header.keys().any(|name| !matches!(name.as_str(), "alg" | "kid" | "typ")) {
        return Err(JwtError::Header);
    }
    match header.get("typ") {
        None => Ok(()),
        Some(Value::String(kind)) if kind == "JWT" || kind == "JOSE" => Ok(()),
        Some(_) => Err(JwtError::Type),
    }
}

fn subject(payload: &Map<String, Value>) -> Result<SpiffeId, JwtError> {
    let text = payload.get("sub").and_then(Value::as_str).ok_or(JwtError::Subject)?;
    let id = SpiffeId::parse_workload(text).map_err(|_| JwtError::Subject)?;
    // Byte comparison is the only comparison: a form that would have to be normalised is refused.
    if id.to_string() == text { Ok(id) } else { Err(JwtError::Subject) }
}

fn text<'a>(payload: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, JwtError> {
    match payload.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwtError::ClaimType(name)),
    }
}

fn check_audience(payload: &Map<String, Value>, rules: &Rules<'_>) -> Result<(), JwtError> {
    let named = match payload.get("aud") {
        Some(Value::String(one)) => one == rules.audience,
        Some(Value::Array(many)) => {
            let texts: Option<Vec<&str>> = many.iter().map(Value::as_str).collect();
            let texts = texts.ok_or(JwtError::Audience)?;
            texts.contains(&rules.audience) && (texts.len() == 1 || !rules.only_audience)
        }
        _ => false,
    };
    if named { Ok(()) } else { Err(JwtError::Audience) }
}

fn check_times(payload: &Map<String, Value>, rules: &Rules<'_>) -> Result<(Option<UnixTime>, UnixTime), JwtError> {
    let at = |name: &'static str| match payload.get(name) {
        None => Ok(None),
        Some(value) => seconds(value).map(Some).ok_or(JwtError::ClaimType(name)),
    };
    let expiry = payload.get("exp").and_then(seconds).ok_or(JwtError::NoExpiry)?;
    let now = rules.now.seconds();
    if expiry.saturating_add(rules.leeway_seconds) <= now {
        return Err(JwtError::Expired);
    }
    let (issued, begins) = (at("iat")?, at("nbf")?);
    if [issued, begins].into_iter().flatten().any(|time| time > now.saturating_add(rules.leeway_seconds)) {
        return Err(JwtError::NotYetValid);
    }
    let life = expiry.saturating_sub(issued.unwrap_or(now));
    if life > rules.max_life_seconds.saturating_add(rules.leeway_seconds) {
        return Err(JwtError::LivesTooLong);
    }
    Ok((issued.map(UnixTime::from_seconds), UnixTime::from_seconds(expiry)))
}

/// A NumericDate (RFC 7519 §2) within the years that we can represent.
fn seconds(value: &Value) -> Option<i64> {
    let number = match value.as_i64() {
        Some(whole) => whole,
        None => value.as_f64().filter(|f| f.is_finite()).map(|f| f.floor() as i64)?,
    };
    (0..=9_000_000_000).contains(&number).then_some(number)
}
