use std::collections::BTreeSet;

use sekisho_types::{JsonError, SpiffeId, UnixTime};
use serde_json::{Map, Value};

/// Why a token is refused. The text goes to the presenter; it names no key and no claim's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("the token is longer than 16 KiB")]
    TooLong,
    #[error("the token is not three base64url parts (JWS compact form)")]
    NotCompact,
    #[error("header or payload: {0}")]
    Json(#[from] JsonError),
    #[error("the header has a member other than `alg`, `kid` and `typ`, or one of the wrong type")]
    Header,
    #[error("the algorithm is not one of RS, ES and PS with 256, 384 and 512")]
    Algorithm,
    #[error("`typ` is neither `JWT` nor `JOSE`")]
    Type,
    #[error("the header has no `kid`")]
    NoKeyId,
    #[error("no key of the subject's trust domain has this `kid`")]
    UnknownKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("`sub` is not a workload's SPIFFE ID")]
    Subject,
    #[error("`aud` is missing, malformed, or does not name this audience")]
    Audience,
    #[error("the issuer is not the one accepted here")]
    Issuer,
    #[error("the token was revoked")]
    Revoked,
    #[error("`exp` is missing or no number")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token lives longer than is allowed")]
    LivesTooLong,
    #[error("the token's `{0}` is not of the type that RFC 7519 gives it")]
    ClaimType(&'static str),
}

/// A public key that may sign tokens.
#[derive(Debug, Clone)]
pub struct TokenKey {
    pub key_id: String,
    /// DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
}

/// What a token is held against.
#[derive(Debug, Clone)]
pub struct Rules<'a> {
    pub audience: &'a str,
    /// Refuse a token that names other audiences as well, since each of them could replay it here.
    pub only_audience: bool,
    /// The one issuer accepted, compared byte by byte; JWT-SVIDs need none.
    pub issuer: Option<&'a str>,
    pub revoked_token_ids: &'a BTreeSet<String>,
    pub now: UnixTime,
    /// Tolerance for clocks that differ, in seconds.
    pub leeway_seconds: i64,
    /// Longest accepted time from `iat` (or from now) to `exp`, in seconds.
    pub max_life_seconds: i64,
}

/// A token that was verified; what it says is what was signed.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtSvid {
    pub subject: SpiffeId,
    pub expires_at: UnixTime,
    /// By its `iat`, if it has one.
    pub issued_at: Option<UnixTime>,
    pub claims: Map<String, Value>,
}
