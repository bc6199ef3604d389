//! The input of a decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use sekisho_rego::value::Value;
use sekisho_types::{ClaimValue, Claims, SpiffeId, UnixTime};

pub(crate) fn text(text: &str) -> Value {
    Value::from(text)
}

fn members<'a>(pairs: impl Iterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(pairs.map(|(name, value)| (text(name), value)).collect())
}

pub(crate) fn claim_value(value: &ClaimValue) -> Value {
    match value {
        ClaimValue::Bool(flag) => Value::from(*flag),
        ClaimValue::Integer(number) => Value::from(*number),
        ClaimValue::Text(text) => Value::from(text.as_str()),
        ClaimValue::List(texts) => texts.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>().into(),
    }
}

/// The peer, as its verified SVID describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectInput {
    pub spiffe_id: SpiffeId,
    pub claims: Claims,
    /// The SVID's notBefore.
    pub issued_at: UnixTime,
}

/// One request, as it will be forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInput {
    pub method: String,
    /// Path segments, exactly as sent.
    pub path: Vec<String>,
    /// What follows the first `?`, exactly as sent; empty without one.
    pub query: String,
    /// Header names in lower case; several values of one name are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// Shared by the requests of one connection.
    pub subject: Arc<SubjectInput>,
    /// The service that is asked: its own SPIFFE ID.
    pub destination: SpiffeId,
    pub request_id: String,
}

impl RequestInput {
    /// The path as it is written in a request.
    pub fn joined_path(&self) -> String {
        format!("/{}", self.path.join("/"))
    }

    /// The input as policies see it.
    pub fn to_value(&self, now: UnixTime) -> Value {
        let object = |pairs: Vec<(&str, Value)>| members(pairs.into_iter());
        object(vec![
            ("method", text(&self.method)),
            ("path", self.path_value()),
            ("headers", self.headers_value()),
            (
                "subject",
                object(vec![
                    ("spiffe_id", text(&self.subject.spiffe_id.to_string())),
                    ("claims", self.claims_value()),
                    ("issued_at", Value::from(self.subject.issued_at.nanos())),
                ]),
            ),
            ("destination", text(&self.destination.to_string())),
            ("query", text(&self.query)),
            ("request_id", text(&self.request_id)),
            ("now", Value::from(now.nanos())),
        ])
    }

    pub(crate) fn path_value(&self) -> Value {
        Value::from(self.path.iter().map(|segment| text(segment)).collect::<Vec<_>>())
    }

    pub(crate) fn headers_value(&self) -> Value {
        members(self.headers.iter().map(|(name, value)| (name.as_str(), text(value))))
    }

    pub(crate) fn claims_value(&self) -> Value {
        members(self.subject.claims.iter().map(|(name, value)| (name, claim_value(value))))
    }
}
