use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sekisho_types::{SpiffeId, UnixTime};
use serde_json::{Map, Value, json};

/// What a JWT-SVID says.
#[derive(Debug, Clone)]
pub struct Mint<'a> {
    pub key_id: &'a str,
    pub subject: &'a SpiffeId,
    pub audience: &'a [String],
    pub issued_at: UnixTime,
    pub expires_at: UnixTime,
    pub jti: Option<&'a str>,
    /// One more claim, by a name that RFC 7519 does not register.
    pub own_claim: Option<(&'a str, Value)>,
}

/// The bytes to be signed with ES256 (RFC 7515 §5.1).
pub fn signing_input(mint: &Mint<'_>) -> String {
    let header = json!({"alg": "ES256", "kid": mint.key_id, "typ": "JWT"});
    let mut payload = Map::new();
    payload.insert("sub".into(), mint.subject.to_string().into());
    payload.insert("aud".into(), mint.audience.iter().map(String::as_str).collect::<Vec<_>>().into());
    payload.insert("iat".into(), mint.issued_at.seconds().into());
    payload.insert("exp".into(), mint.expires_at.seconds().into());
    payload.extend(mint.jti.map(|id| ("jti".to_owned(), id.into())));
    payload.extend(mint.own_claim.as_ref().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let encode = |value: String| URL_SAFE_NO_PAD.encode(value);
    format!("{}.{}", encode(header.to_string()), encode(Value::Object(payload).to_string()))
}

/// The token of a signing input and its ASN.1 signature; `None` when the signature is not a P-256 signature.
pub fn token(signing_input: &str, der_signature: &[u8]) -> Option<String> {
    let fixed = fixed_signature(der_signature)?;
    Some(format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(fixed)))
}

/// r ‖ s of 32 bytes each from SEQUENCE { r, s } (RFC 7518 §3.4).
fn fixed_signature(der: &[u8]) -> Option<[u8; 64]> {
    let (&[tag, length], mut rest) = der.split_first_chunk::<2>()?;
    if tag != 0x30 || usize::from(length) != rest.len() {
        return None;
    }
    let mut out = [0u8; 64];
    for half in out.chunks_exact_mut(32) {
        let (&[tag, length], after) = rest.split_first_chunk::<2>()?;
        let (number, after) = after.split_at_checked(usize::from(length))?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        let start = 32usize.checked_sub(number.len())?;
        half.get_mut(start..)?.copy_from_slice(number);
        if tag != 0x02 {
            return None;
        }
        rest = after;
    }
    rest.is_empty().then_some(out)
}
