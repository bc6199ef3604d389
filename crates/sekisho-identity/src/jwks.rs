//! The SPIFFE bundle format (SPIFFE_Trust_Domain_and_Bundle.md §4): a JWK Set, read strictly as a whole and
//! leniently key by key.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sekisho_types::{JsonError, TrustDomain, parse_strict_json};
use serde_json::{Map, Value, json};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::bundle::{Bundle, JwtAuthority};
use crate::der;

/// Largest bundle that is read, in bytes.
const MAX_BUNDLE_BYTES: usize = 1024 * 1024;
/// A refresh hint outside these seconds is clamped.
const MIN_REFRESH: i64 = 60;
const MAX_REFRESH: i64 = 24 * 3600;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("the bundle is not a JSON object with an array `keys`")]
    Keys,
    #[error("`spiffe_sequence` is not a non-negative integer below 2^64")]
    Sequence,
    #[error("the key id `{0}` stands twice")]
    DuplicateKeyId(String),
    #[error("the bundle publishes a private key: it must be withdrawn and the key replaced")]
    PrivateKey,
    #[error("the bundle map has no object `trust_domains`, or a name in it is not a trust domain")]
    Map,
}

/// Reads a bundle of `trust_domain`. A key that cannot be used is left out; a bundle that cannot be
/// trusted as a whole is refused.
pub fn parse_bundle(trust_domain: &TrustDomain, text: &[u8]) -> Result<Bundle, JwksError> {
    bundle_from(trust_domain, &parse_strict_json(text, MAX_BUNDLE_BYTES)?)
}

/// Reads a SPIFFE bundle map: one bundle for each trust domain.
pub fn parse_bundle_map(text: &[u8]) -> Result<Vec<Bundle>, JwksError> {
    let map = parse_strict_json(text, MAX_BUNDLE_BYTES)?;
    let domains = map.get("trust_domains").and_then(Value::as_object).ok_or(JwksError::Map)?;
    let one = |(name, value): (&String, &Value)| {
        let trust_domain = TrustDomain::parse(name).map_err(|_| JwksError::Map)?;
        let mut bundle = bundle_from(&trust_domain, value)?;
        bundle.refresh_hint_seconds = None;
        Ok(bundle)
    };
    domains.iter().map(one).collect()
}

fn bundle_from(trust_domain: &TrustDomain, document: &Value) -> Result<Bundle, JwksError> {
    let object = document.as_object().ok_or(JwksError::Keys)?;
    let keys = object.get("keys").and_then(Value::as_array).ok_or(JwksError::Keys)?;
    let mut bundle = Bundle::empty(trust_domain.clone());
    bundle.sequence = match object.get("spiffe_sequence") {
        None => None,
        Some(value) => Some(value.as_u64().ok_or(JwksError::Sequence)?),
    };
    bundle.refresh_hint_seconds = object
        .get("spiffe_refresh_hint")
        .and_then(Value::as_i64)
        .map(|hint| hint.clamp(MIN_REFRESH, MAX_REFRESH) as u32);
    let mut key_ids = BTreeSet::new();
    for key in keys.iter().filter_map(Value::as_object) {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let usage = text("use");
        if key.contains_key("d") {
            return Err(JwksError::PrivateKey);
        }
        if let (Some("jwt-svid" | "wit-svid"), Some(id)) = (usage, text("kid"))
            && !key_ids.insert(id.to_owned())
        {
            return Err(JwksError::DuplicateKeyId(id.to_owned()));
        }
        match usage {
            Some("x509-svid") => {
                if let Some(der) = x509_certificate(key) {
                    // Refused here means: no CA, or of another trust domain. That key is left out.
                    let _left_out = bundle.add_x509(der);
                }
            }
            Some("jwt-svid") => bundle.jwt_authorities.extend(jwt_authority(key)),
            Some("wit-svid") => bundle.wit_authorities.extend(jwt_authority(key)),
            _ => {}
        }
    }
    Ok(bundle)
}

fn x509_certificate(key: &Map<String, Value>) -> Option<Vec<u8>> {
    let [encoded] = key.get("x5c")?.as_array()?.as_slice() else {
        return None;
    };
    let der = STANDARD.decode(encoded.as_str()?).ok()?;
    let (rest, certificate) = X509Certificate::from_der(&der).ok()?;
    let same_key = rest.is_empty() && spki_of(key)? == certificate.public_key().raw;
    same_key.then_some(der)
}

fn jwt_authority(key: &Map<String, Value>) -> Option<JwtAuthority> {
    let key_id = key.get("kid")?.as_str().filter(|id| !id.is_empty() && id.len() <= 1024)?;
    Some(JwtAuthority { key_id: key_id.to_owned(), public_key: spki_of(key)?, expires_at: None, tainted: false })
}

/// A JWK's public key as DER SubjectPublicKeyInfo; only the kinds that a JWT-SVID may use.
fn spki_of(key: &Map<String, Value>) -> Option<Vec<u8>> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| text(name).and_then(|value| URL_SAFE_NO_PAD.decode(value).ok());
    let (algorithm, bits) = match text("kty")? {
        "EC" => {
            let (curve, width): (&[u32], usize) = match text("crv")? {
                "P-256" => (&[1, 2, 840, 10045, 3, 1, 7], 32),
                "P-384" => (&[1, 3, 132, 0, 34], 48),
                "P-521" => (&[1, 3, 132, 0, 35], 66),
                _ => return None,
            };
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != width || y.len() != width {
                return None;
            }
            let algorithm =
                der::written(|der| [&[1, 2, 840, 10045, 2, 1], curve].iter().for_each(|arcs| der.oid(arcs)));
            (algorithm, [vec![4], x, y].concat())
        }
        "RSA" => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            if !(256..=1024).contains(&n.len()) {
                return None;
            }
            let algorithm = der::written(|der| {
                der.oid(&[1, 2, 840, 113_549, 1, 1, 1]);
                der.tlv(0x05, &[]);
            });
            (algorithm, der::written(|der| der.sequence(|der| [n, e].iter().for_each(|number| der.unsigned(number)))))
        }
        _ => return None,
    };
    Some(der::written(|der| {
        der.sequence(|der| {
            der.sequence(|der| der.raw(&algorithm));
            der.bit_string(&bits);
        });
    }))
}

/// The bundle as a SPIFFE bundle document.
pub fn bundle_to_jwks(bundle: &Bundle) -> Value {
    let x509 = bundle.x509_authorities.iter().filter_map(|authority| {
        let (_, certificate) = X509Certificate::from_der(&authority.der).ok()?;
        let mut jwk = jwk_of(certificate.public_key().raw)?;
        jwk.insert("use".into(), "x509-svid".into());
        jwk.insert("x5c".into(), json!([STANDARD.encode(&authority.der)]));
        Some(Value::Object(jwk))
    });
    let jwt = bundle.jwt_authorities.iter().filter_map(jwt_jwk);
    let mut document = json!({"keys": x509.chain(jwt).collect::<Vec<_>>()});
    if let Some(object) = document.as_object_mut() {
        object.extend(bundle.sequence.map(|sequence| ("spiffe_sequence".to_owned(), sequence.into())));
        object.extend(bundle.refresh_hint_seconds.map(|hint| ("spiffe_refresh_hint".to_owned(), hint.into())));
    }
    document
}

/// The bundle's JWT keys alone, as the Workload API carries them.
pub fn jwt_keys_to_jwks(bundle: &Bundle) -> Value {
    json!({"keys": bundle.jwt_authorities.iter().filter_map(jwt_jwk).collect::<Vec<_>>()})
}

fn jwt_jwk(key: &JwtAuthority) -> Option<Value> {
    let mut jwk = jwk_of(&key.public_key)?;
    jwk.insert("use".into(), "jwt-svid".into());
    jwk.insert("kid".into(), key.key_id.as_str().into());
    Some(Value::Object(jwk))
}

fn jwk_of(spki: &[u8]) -> Option<Map<String, Value>> {
    let (_, parsed) = SubjectPublicKeyInfo::from_der(spki).ok()?;
    let encode = |bytes: &[u8]| Value::from(URL_SAFE_NO_PAD.encode(bytes));
    let jwk = match parsed.parsed().ok()? {
        PublicKey::EC(point) => {
            let (curve, width) = match point.key_size() {
                256 => ("P-256", 32),
                384 => ("P-384", 48),
                _ => ("P-521", 66),
            };
            let (x, y) = point.data().get(1..)?.split_at_checked(width)?;
            json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
        }
        PublicKey::RSA(key) => {
            let strip = |bytes: &[u8]| bytes.iter().copied().skip_while(|b| *b == 0).collect::<Vec<_>>();
            json!({"kty": "RSA", "n": encode(&strip(key.modulus)), "e": encode(&strip(key.exponent))})
        }
        _ => return None,
    };
    jwk.as_object().cloned()
}
