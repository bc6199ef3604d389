//! A leaf: one event, in which trust domain, and when. It is one flat JSON object in canonical form: keys in byte
//! order, no white space, integers only (a subset of RFC 8785).
//!
//! A leaf that does not re-encode to its own bytes is refused, so a leaf has one encoding and one hash. One with a
//! member that this version does not know is refused as well (law L3): its inclusion may be proved, its meaning is not
//! known.

use sekisho_ledger::MAX_LEAF_BYTES;
use sekisho_types::{Revision, TrustDomain, UnixTime, parse_strict_json};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value as Json;

use crate::commitment::Opening;
use crate::error::LeafError;
use crate::kinds::Event;
use crate::member::{Member, Reader, Value, Writer};

const VERSION: i64 = 1;
/// More than what opens the largest leaf of an earlier release: an entry before and after its change.
const MAX_SIDE_BYTES: usize = 16 * 1024 * 1024;
/// What opens a leaf goes into the log with it, which takes 4 MiB at once: what is longer could never be taken out of
/// an outbox.
const LONGEST_SIDE: usize = 4 * 1024 * 1024 - 2 * MAX_LEAF_BYTES;
/// What a usual opening takes beside its value: names, nonce, marks that are escaped.
const USUAL_OPENING: usize = 192;

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub trust_domain: TrustDomain,
    /// Milliseconds are what the log keeps of it.
    pub at: UnixTime,
    /// The revision of the state at which it was made: of changes and issuances, since this release.
    pub state_revision: Option<Revision>,
    pub event: Event,
}

/// A leaf in bytes, and what opens its commitments, which is kept beside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub leaf: Vec<u8>,
    pub side: Vec<u8>,
}

impl Leaf {
    pub fn new(trust_domain: TrustDomain, at: UnixTime, event: impl Into<Event>) -> Self {
        Self { trust_domain, at: UnixTime::from_millis(at.millis()), state_revision: None, event: event.into() }
    }

    /// This leaf as that of a change of the state, by its revision.
    #[must_use]
    pub fn at_state(self, revision: Revision) -> Self {
        Self { state_revision: Some(revision), ..self }
    }

    pub fn encode(&self) -> Result<Encoded, LeafError> {
        let (leaf, mut openings) = self.write()?;
        let side = side_of(&mut openings);
        if side.len() > LONGEST_SIDE { Err(LeafError::SideTooLong(side.len())) } else { Ok(Encoded { leaf, side }) }
    }

    fn write(&self) -> Result<(Vec<u8>, Vec<Opening>), LeafError> {
        let revision = self.state_revision.map(|revision| revision.0);
        let mut out = Writer::new();
        out.integer("at_ms", self.at.millis());
        out.text("kind", self.event.kind().into());
        revision.write("state_revision", &mut out);
        out.text("trust_domain", self.trust_domain.as_str().into());
        out.integer("v", VERSION);
        self.event.write(&mut out);
        out.members.sort_unstable_by_key(|(name, _)| *name);
        let mut bytes = Vec::with_capacity(1024);
        let members = out.members.iter().map(|(name, value): &(_, Value<'_>)| (name, value));
        serde_json::Serializer::new(&mut bytes).collect_map(members).map_err(|_| LeafError::NotCanonical)?;
        if bytes.len() > MAX_LEAF_BYTES { Err(LeafError::TooLong) } else { Ok((bytes, out.openings)) }
    }

    /// Reads a leaf. What is personal stays closed.
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        Self::opened(bytes, [])
    }

    /// Reads a leaf and the side data that the log keeps for it.
    pub fn decode_with_side(bytes: &[u8], side: &[u8]) -> Result<Self, LeafError> {
        Self::opened(bytes, openings_of(side)?)
    }

    /// Reads a leaf, and opens what these openings fit. One that fits nothing is refused.
    pub fn opened(bytes: &[u8], openings: impl IntoIterator<Item = Opening>) -> Result<Self, LeafError> {
        if bytes.len() > MAX_LEAF_BYTES {
            return Err(LeafError::TooLong);
        }
        let Ok(Json::Object(members)) = parse_strict_json(bytes, MAX_LEAF_BYTES) else {
            return Err(LeafError::NotCanonical);
        };
        let openings = openings.into_iter().map(|opening| (opening.field.clone(), opening)).collect();
        let mut from = Reader { members, openings };
        if from.integer("v")? != VERSION {
            return Err(LeafError::Field("v"));
        }
        let kind = from.text("kind")?;
        let trust_domain = TrustDomain::parse(&from.text("trust_domain")?);
        let trust_domain = trust_domain.map_err(|_| LeafError::Field("trust_domain"))?;
        let at = from.integer("at_ms")?.checked_mul(1_000_000).ok_or(LeafError::Field("at_ms"))?;
        let state_revision = Option::<u64>::read("state_revision", &mut from)?.map(Revision);
        let event = Event::read(&kind, &mut from)?;
        if let Some(name) = from.members.keys().next() {
            return Err(LeafError::Unknown(name.clone()));
        }
        if let Some(name) = from.openings.keys().next() {
            return Err(LeafError::Opening(name.clone()));
        }
        let leaf = Self { trust_domain, at: UnixTime::from_nanos(at), state_revision, event };
        if leaf.write()?.0 == bytes { Ok(leaf) } else { Err(LeafError::NotCanonical) }
    }
}

/// What opens a commitment, as it stands beside the log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpeningForm {
    nonce: String,
    value: String,
}

/// The same, to be written: without a copy of the value, which may be a whole entry.
#[derive(Serialize)]
struct OpeningText<'a> {
    nonce: String,
    value: &'a str,
}

fn side_of(openings: &mut [Opening]) -> Vec<u8> {
    openings.sort_unstable_by(|a, b| a.field.cmp(&b.field));
    let length: usize = openings.iter().map(|opening| USUAL_OPENING + opening.value.len()).sum();
    let mut bytes = Vec::with_capacity(length);
    let members = openings.iter().map(|opening| {
        let Opening { field, nonce, value } = opening;
        (field, OpeningText { nonce: hex::encode(nonce), value })
    });
    // Memory does not fail, and every member is a text.
    let _infallible = serde_json::Serializer::new(&mut bytes).collect_map(members);
    bytes
}

/// Reads the side data of a leaf, which is empty after an erasure.
pub fn openings_of(side: &[u8]) -> Result<Vec<Opening>, LeafError> {
    if side.is_empty() {
        return Ok(vec![]);
    }
    let Ok(Json::Object(members)) = parse_strict_json(side, MAX_SIDE_BYTES) else { return Err(LeafError::Side) };
    let opening = |(field, form): (String, Json)| {
        let form: OpeningForm = serde_json::from_value(form).ok()?;
        let nonce = hex::decode(form.nonce).ok()?.try_into().ok()?;
        Some(Opening { field, nonce, value: form.value })
    };
    members.into_iter().map(opening).collect::<Option<_>>().ok_or(LeafError::Side)
}
