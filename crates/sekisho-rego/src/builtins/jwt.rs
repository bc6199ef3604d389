//! `io.jwt.*`: reading and verifying signed tokens (RFC 7519).

use base64::Engine;

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::encoding::URL_SAFE_NO_PAD;
use super::keys::{Key, PublicKey, parse, verifies};
use super::operand::{any, object, string};
use crate::value::{Number, Object, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("io.jwt.decode", decode),
    ("io.jwt.decode_verify", decode_verify),
    ("io.jwt.verify_rs256", |cx, args| verify(cx, args, "RS256")),
    ("io.jwt.verify_rs384", |cx, args| verify(cx, args, "RS384")),
    ("io.jwt.verify_rs512", |cx, args| verify(cx, args, "RS512")),
    ("io.jwt.verify_ps256", |cx, args| verify(cx, args, "PS256")),
    ("io.jwt.verify_ps384", |cx, args| verify(cx, args, "PS384")),
    ("io.jwt.verify_ps512", |cx, args| verify(cx, args, "PS512")),
    ("io.jwt.verify_es256", |cx, args| verify(cx, args, "ES256")),
    ("io.jwt.verify_es384", |cx, args| verify(cx, args, "ES384")),
    ("io.jwt.verify_es512", |cx, args| verify(cx, args, "ES512")),
    ("io.jwt.verify_eddsa", |cx, args| verify(cx, args, "EdDSA")),
    ("io.jwt.verify_hs256", |cx, args| verify_secret(cx, args, "HS256")),
    ("io.jwt.verify_hs384", |cx, args| verify_secret(cx, args, "HS384")),
    ("io.jwt.verify_hs512", |cx, args| verify_secret(cx, args, "HS512")),
];

/// Work of one verification with a public key.
const VERIFY_WORK: usize = 50_000;
/// Tokens within tokens that are followed.
const MAX_NESTING: usize = 16;

/// The three sections of a token.
struct Token {
    signed: String,
    header: Object,
    payload: String,
    signature: String,
}

/// Decodes base64url with or without padding; an error names the byte as Go does.
fn base64url(text: &str) -> Result<Vec<u8>, BuiltinError> {
    let plain = text.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(plain).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) => at,
            _ => plain.len(),
        };
        failure(format!("illegal base64 data at input byte {at}"))
    })
}

fn section(text: &str, name: &str) -> Result<Vec<u8>, BuiltinError> {
    base64url(text).map_err(|error| failure(format!("JWT {name} had invalid encoding: {}", error.message)))
}

fn json_object(bytes: &[u8]) -> Result<Object, BuiltinError> {
    let text = String::from_utf8_lossy(bytes);
    let value = Value::from_json(&text).map_err(|error| failure(format!("invalid JSON: {error}")))?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(failure("decoded JSON type was not an Object")),
    }
}

impl Token {
    fn new(cx: &mut Context, text: &str) -> Result<Token, BuiltinError> {
        cx.spend(text.len().saturating_mul(8))?;
        let [header, payload, signature] = sections(text)?;
        let bytes = section(header, "header")?;
        let decoded = json_object(&bytes).map_err(|error| failure(format!("bad JWT header: {}", error.message)))?;
        if decoded.get_str("enc").is_some() {
            return Err(failure("JWT is a JWE object, which is not supported"));
        }
        Ok(Token {
            signed: format!("{header}.{payload}"),
            header: decoded,
            payload: payload.to_owned(),
            signature: signature.to_owned(),
        })
    }

    fn payload(&self) -> Result<Vec<u8>, BuiltinError> {
        section(&self.payload, "payload")
    }

    /// A member of the header that must be a string.
    fn text(&self, name: &str) -> Result<&str, BuiltinError> {
        match self.header.get_str(name) {
            None => Ok(""),
            Some(value) => value.as_str().ok_or_else(|| failure(format!("{name}: must be a string"))),
        }
    }

    /// Is every critical member (RFC 7515 §4.1.11) one that this verifier reads?
    fn critical_members_are_known(&self) -> Result<bool, BuiltinError> {
        let Some(critical) = self.header.get_str("crit") else {
            return Ok(true);
        };
        let names = critical.as_array().ok_or_else(|| failure("crit: must be a list"))?;
        if names.is_empty() {
            return Err(failure("crit: must be a nonempty list"));
        }
        let read = ["alg", "kid", "typ", "cty", "crit"];
        Ok(names
            .iter()
            .all(|name| name.as_str().is_some_and(|name| read.contains(&name) || self.header.get_str(name).is_none())))
    }
}

fn sections(text: &str) -> Result<[&str; 3], BuiltinError> {
    if !text.contains('.') {
        return Err(failure("encoded JWT had no period separators"));
    }
    let parts: Vec<&str> = text.split('.').collect();
    let count = parts.len();
    <[&str; 3]>::try_from(parts).map_err(|_| failure(format!("encoded JWT must have 3 sections, found {count}")))
}

fn decode(cx: &mut Context, args: &[Value]) -> Outcome {
    let mut text = string(args, 0)?.to_owned();
    for _ in 0..MAX_NESTING {
        let token = Token::new(cx, &text)?;
        let payload = token.payload()?;
        if token.header.get_str("cty").and_then(Value::as_str) == Some("JWT") {
            text = String::from_utf8_lossy(&payload).trim_matches(['"', '\'']).to_owned();
            continue;
        }
        let payload = json_object(&payload)?;
        let signature = section(&token.signature, "signature")?;
        let parts = vec![Value::from(token.header), Value::from(payload), Value::from(hex::encode(signature))];
        return done(parts);
    }
    Err(failure("tokens are nested too deeply"))
}

/// Does a key verify the token? If a key has the token's key id, only that one counts.
fn verified(cx: &mut Context, token: &Token, keys: &[Key], alg: &str, signature: &[u8]) -> Result<bool, BuiltinError> {
    let message = token.signed.as_bytes();
    let kid = token.text("kid")?;
    cx.spend(VERIFY_WORK.saturating_add(message.len()))?;
    if !kid.is_empty()
        && let Some(key) = keys.iter().find(|key| key.kid == kid)
    {
        return Ok(verifies(&key.key, alg, message, signature));
    }
    let claimed = token.text("alg")?;
    for key in keys.iter().filter(|key| key.alg.is_empty() || key.alg == claimed) {
        cx.spend(VERIFY_WORK.saturating_add(message.len()))?;
        if verifies(&key.key, alg, message, signature) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn verify(cx: &mut Context, args: &[Value], alg: &str) -> Outcome {
    let text = string(args, 0)?;
    sections(text)?;
    let source = string(args, 1)?;
    cx.spend(source.len().saturating_mul(8))?;
    let keys = parse(source)?;
    let token = Token::new(cx, text)?;
    let signature = base64url(&token.signature)?;
    done(verified(cx, &token, &keys, alg, &signature)?)
}

fn verify_secret(cx: &mut Context, args: &[Value], alg: &str) -> Outcome {
    let (text, secret) = (string(args, 0)?, string(args, 1)?);
    cx.spend((text.len() + secret.len()).saturating_mul(8))?;
    let [header, payload, signature] = sections(text)?;
    let signature = base64url(signature)?;
    let key = PublicKey::Symmetric(secret.as_bytes().to_vec());
    done(verifies(&key, alg, format!("{header}.{payload}").as_bytes(), &signature))
}

/// What a token must meet.
struct Constraints<'a> {
    keys: Vec<Key>,
    alg: &'a str,
    iss: &'a str,
    aud: &'a str,
    seconds: f64,
}

impl<'a> Constraints<'a> {
    fn new(cx: &mut Context, object: &'a Object) -> Result<Constraints<'a>, BuiltinError> {
        let (mut secret, mut certificate) = ("", None);
        let mut found = Constraints { keys: Vec::new(), alg: "", iss: "", aud: "", seconds: cx.now_ns as f64 / 1e9 };
        for (name, value) in object.iter() {
            let name = name.as_str().unwrap_or_default();
            let text = || value.as_str().ok_or_else(|| failure(format!("{name} constraint: must be a string")));
            match name {
                "cert" => certificate = Some(text()?),
                "secret" => secret = text()?,
                "alg" => found.alg = text()?,
                "iss" => found.iss = text()?,
                "aud" => found.aud = text()?,
                "time" => {
                    let number = value.as_number().map(Number::to_f64);
                    let number = number.ok_or_else(|| failure("token time constraint: must be a number"))?;
                    if number < 0.0 {
                        return Err(failure("token time constraint: must not be negative"));
                    }
                    found.seconds = number / 1e9;
                }
                _ => return Err(failure(format!("unknown token validation constraint: {name}"))),
            }
        }
        match (certificate, secret) {
            (Some(_), secret) if !secret.is_empty() => Err(failure("duplicate key constraints")),
            (Some(text), _) => {
                cx.spend(text.len().saturating_mul(8))?;
                found.keys = parse(text)?;
                Ok(found)
            }
            (None, "") => Err(failure("no key constraint")),
            (None, secret) => {
                let key = PublicKey::Symmetric(secret.as_bytes().to_vec());
                found.keys.push(Key { alg: String::new(), kid: String::new(), key });
                Ok(found)
            }
        }
    }

    /// Does the audience of a token hold ours? A token without an audience passes only where none is required.
    fn audience(&self, payload: &Object) -> bool {
        let ours = |value: &Value| value.as_str() == Some(self.aud);
        match payload.get_str("aud") {
            None => self.aud.is_empty(),
            Some(Value::Array(all)) => all.iter().any(ours),
            Some(one) => ours(one),
        }
    }

    fn accepts(&self, payload: &Object) -> Result<bool, BuiltinError> {
        let issuer = payload.get_str("iss").and_then(Value::as_str);
        if !self.iss.is_empty() && issuer != Some(self.iss) || !self.audience(payload) {
            return Ok(false);
        }
        let now = Number::from_f64(self.seconds).ok_or_else(|| failure("token time constraint: out of range"))?;
        let time = |name: &str| match payload.get_str(name) {
            None => Ok(None),
            Some(value) => value.as_number().map(Some).ok_or_else(|| failure(format!("{name} value must be a number"))),
        };
        if time("exp")?.is_some_and(|expiry| now >= *expiry) {
            return Ok(false);
        }
        Ok(time("nbf")?.is_none_or(|start| now >= *start))
    }
}

fn decode_verify(cx: &mut Context, args: &[Value]) -> Outcome {
    let constraints = Constraints::new(cx, object(args, 1)?)?;
    let unverified = || done(vec![Value::from(false), Value::empty_object(), Value::empty_object()]);
    let mut text = any(args, 0)?.as_str().map(str::to_owned);
    for _ in 0..MAX_NESTING {
        let token = Token::new(cx, text.as_deref().map_or_else(|| string(args, 0), Ok)?)?;
        let alg = token.text("alg")?;
        token.text("typ")?;
        let nested = token.text("cty")?.eq_ignore_ascii_case("JWT");
        if !token.critical_members_are_known()? || alg.is_empty() {
            return unverified();
        }
        if !constraints.alg.is_empty() && constraints.alg != alg {
            return unverified();
        }
        let signature = base64url(&token.signature)?;
        if !verified(cx, &token, &constraints.keys, alg, &signature)? {
            return unverified();
        }
        let payload = token.payload()?;
        if nested {
            text = Some(String::from_utf8_lossy(&payload).into_owned());
            continue;
        }
        let payload = json_object(&payload)?;
        if !constraints.accepts(&payload)? {
            return unverified();
        }
        return done(vec![Value::from(true), Value::from(token.header), Value::from(payload)]);
    }
    Err(failure("tokens are nested too deeply"))
}
