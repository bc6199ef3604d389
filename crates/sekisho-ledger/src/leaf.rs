//! What is logged: a leaf is one flat JSON object in canonical form, so that an auditor reads it with any tool.
//!
//! Canonical means: keys in byte order, no white space, integers only (a subset of RFC 8785). A leaf that
//! does not re-encode to its own bytes is refused, so a leaf has one encoding and one hash.

use std::collections::BTreeMap;

use sekisho_types::{TrustDomain, UnixTime};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::{Commitment, Hash, leaf_hash};

/// Longest leaf: entry bundles hold a length of 16 bits (c2sp.org/tlog-tiles).
pub const MAX_LEAF_BYTES: usize = 65_535;
const VERSION: i64 = 1;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    #[error("the leaf is not JSON in canonical form")]
    NotCanonical,
    #[error("the leaf is longer than 65535 bytes")]
    TooLong,
    #[error("the leaf has no valid `{0}`")]
    Field(&'static str),
}

/// What a leaf records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Attestation,
    Issuance,
    Refusal,
    EntryChange,
    AgentChange,
    TokenChange,
    KeyEvent,
    PolicyRevision,
    /// The Merkle root of a batch of decisions and refusals made on a node.
    DecisionBatch,
    /// Records that a node lost before they reached the log (law L5).
    Gap,
    /// SVIDs that are refused although they have not expired, by an operator's order.
    Revocation,
}

impl Kind {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Attestation, "attestation"),
        (Self::Issuance, "issuance"),
        (Self::Refusal, "refusal"),
        (Self::EntryChange, "entry-change"),
        (Self::AgentChange, "agent-change"),
        (Self::TokenChange, "token-change"),
        (Self::KeyEvent, "key-event"),
        (Self::PolicyRevision, "policy-revision"),
        (Self::DecisionBatch, "decision-batch"),
        (Self::Gap, "gap"),
        (Self::Revocation, "revocation"),
    ];

    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Bool(bool),
    List(Vec<String>),
}

/// One record of the log. Personal fields stand in it only as commitments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub kind: Kind,
    pub trust_domain: TrustDomain,
    /// Milliseconds are what the log keeps of it.
    pub at: UnixTime,
    fields: BTreeMap<String, Value>,
}

const RESERVED: [&str; 4] = ["at_ms", "kind", "trust_domain", "v"];

impl Leaf {
    pub fn new(kind: Kind, trust_domain: TrustDomain, at: UnixTime) -> Self {
        let at = UnixTime::from_millis(at.millis());
        Self { kind, trust_domain, at, fields: BTreeMap::new() }
    }

    #[must_use]
    pub fn text(self, name: &str, value: impl Into<String>) -> Self {
        self.with(name, Value::Text(value.into()))
    }

    #[must_use]
    pub fn integer(self, name: &str, value: i64) -> Self {
        self.with(name, Value::Integer(value))
    }

    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Self {
        self.with(name, Value::Bool(value))
    }

    #[must_use]
    pub fn list(self, name: &str, value: Vec<String>) -> Self {
        self.with(name, Value::List(value))
    }

    /// Adds a personal field: what is logged is the commitment.
    #[must_use]
    pub fn committed(self, name: &str, commitment: &Commitment) -> Self {
        self.with(name, Value::Text(commitment.to_string()))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        debug_assert!(!RESERVED.contains(&name), "`{name}` is a field of every leaf");
        self.fields.insert(name.to_owned(), value);
        self
    }

    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    pub fn field_text(&self, name: &str) -> Option<&str> {
        match self.fields.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn encode(&self) -> Result<Vec<u8>, LeafError> {
        let text = |text: &str| Value::Text(text.to_owned());
        let reserved = [
            ("at_ms", Value::Integer(self.at.millis())),
            ("kind", text(self.kind.as_str())),
            ("trust_domain", text(self.trust_domain.as_str())),
            ("v", Value::Integer(VERSION)),
        ];
        let mut members: Vec<(&str, &Value)> = reserved.iter().map(|(name, value)| (*name, value)).collect();
        members.extend(self.fields.iter().map(|(name, value)| (name.as_str(), value)));
        members.sort_unstable_by_key(|(name, _)| *name);
        let mut bytes = Vec::with_capacity(512);
        serde_json::Serializer::new(&mut bytes).collect_map(members).map_err(|_| LeafError::NotCanonical)?;
        if bytes.len() > MAX_LEAF_BYTES { Err(LeafError::TooLong) } else { Ok(bytes) }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > MAX_LEAF_BYTES {
            return Err(LeafError::TooLong);
        }
        let Ok(Json::Object(object)) = serde_json::from_slice::<Json>(bytes) else {
            return Err(LeafError::NotCanonical);
        };
        let text = |name| object.get(name).and_then(Json::as_str);
        let integer = |name| object.get(name).and_then(Json::as_i64);
        if integer("v") != Some(VERSION) {
            return Err(LeafError::Field("v"));
        }
        let kind = text("kind").and_then(Kind::parse).ok_or(LeafError::Field("kind"))?;
        let trust_domain = text("trust_domain").and_then(|name| TrustDomain::parse(name).ok());
        let at = integer("at_ms").and_then(|ms| ms.checked_mul(1_000_000)).ok_or(LeafError::Field("at_ms"))?;
        let mut leaf = Self::new(kind, trust_domain.ok_or(LeafError::Field("trust_domain"))?, UnixTime::from_nanos(at));
        for (name, value) in object.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())) {
            leaf.fields.insert(name.clone(), from_json(value).ok_or(LeafError::NotCanonical)?);
        }
        if leaf.encode()? == bytes { Ok(leaf) } else { Err(LeafError::NotCanonical) }
    }

    pub fn hash(&self) -> Result<Hash, LeafError> {
        Ok(leaf_hash(&self.encode()?))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Integer(number) => to.serialize_i64(*number),
            Self::Bool(flag) => to.serialize_bool(*flag),
            Self::List(items) => to.collect_seq(items),
        }
    }
}

fn from_json(value: &Json) -> Option<Value> {
    match value {
        Json::String(text) => Some(Value::Text(text.clone())),
        Json::Number(number) => number.as_i64().map(Value::Integer),
        Json::Bool(flag) => Some(Value::Bool(*flag)),
        Json::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            items.map(Value::List)
        }
        _ => None,
    }
}
