//! A request as the sidecar holds it, as a source of facts without a document.

use std::borrow::Cow;
use std::cell::OnceCell;

use sekisho_rego::decision::{Source, Truth, View};
use sekisho_rego::value::Value;
use sekisho_types::{ClaimValue, UnixTime};

use super::condition::Condition;
use super::facts::{FactCache, Facts, Path};
use crate::input::{RequestInput, claim_value, text};

impl Facts for RequestInput {
    fn at(&self, path: &Path, now: UnixTime) -> Option<Cow<'_, Value>> {
        let names = path.names.iter().map(String::as_str);
        let value = match names.collect::<Vec<_>>().as_slice() {
            ["method"] => text(&self.method),
            ["path"] => self.path_value(),
            ["path", number] => text(self.path.get(number.parse::<usize>().ok()?)?),
            ["query"] => text(&self.query),
            ["headers"] => self.headers_value(),
            ["headers", name] => text(self.headers.get(*name)?),
            ["subject", "spiffe_id"] => text(&self.subject.spiffe_id.to_string()),
            ["subject", "issued_at"] => Value::from(self.subject.issued_at.nanos()),
            ["subject", "claims"] => self.claims_value(),
            ["subject", "claims", name] => claim_value(self.subject.claims.get(name)?),
            ["destination"] => text(&self.destination.to_string()),
            ["request_id"] => text(&self.request_id),
            ["now"] => Value::from(now.nanos()),
            // A path that ends in the middle of the document.
            _ => self.to_value(now).at(path, now).map(Cow::into_owned)?,
        };
        Some(Cow::Owned(value))
    }
}

/// A place of a request that holds one value, which is read where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Method,
    Path,
    Segment(usize),
    Query,
    Header(String),
    Id,
    IssuedAt,
    Claim(String),
    Destination,
    RequestId,
    Now,
}

impl Place {
    /// None for objects, and for what is in no request.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let names: Vec<&str> = path.names.iter().map(String::as_str).collect();
        Some(match names.as_slice() {
            ["method"] => Self::Method,
            ["path"] => Self::Path,
            ["path", number] => Self::Segment(number.parse().ok()?),
            ["query"] => Self::Query,
            ["headers", name] => Self::Header((*name).to_owned()),
            ["subject", "spiffe_id"] => Self::Id,
            ["subject", "issued_at"] => Self::IssuedAt,
            ["subject", "claims", name] => Self::Claim((*name).to_owned()),
            ["destination"] => Self::Destination,
            ["request_id"] => Self::RequestId,
            ["now"] => Self::Now,
            _ => return None,
        })
    }

    fn view<'a>(&self, request: &'a RequestInput, now: UnixTime) -> View<'a> {
        match self {
            Self::Method => View::Text(&request.method),
            Self::Path => View::Texts(&request.path),
            Self::Segment(number) => request.path.get(*number).map_or(View::Undefined, |text| View::Text(text)),
            Self::Query => View::Text(&request.query),
            Self::Header(name) => request.headers.get(name).map_or(View::Undefined, |text| View::Text(text)),
            Self::Id => View::Text(request.subject.spiffe_id.as_str()),
            Self::IssuedAt => View::Integer(request.subject.issued_at.nanos()),
            Self::Claim(name) => match request.subject.claims.get(name) {
                None => View::Undefined,
                Some(ClaimValue::Bool(flag)) => View::Bool(*flag),
                Some(ClaimValue::Integer(number)) => View::Integer(*number),
                Some(ClaimValue::Text(text)) => View::Text(text),
                Some(ClaimValue::List(texts)) => View::Texts(texts),
            },
            Self::Destination => View::Text(request.destination.as_str()),
            Self::RequestId => View::Text(&request.request_id),
            Self::Now => View::Integer(now.nanos()),
        }
    }
}

/// One request for the table of a set.
pub(crate) struct Judged<'a> {
    pub(super) request: &'a RequestInput,
    pub(super) now: UnixTime,
    pub(super) places: &'a [Option<Place>],
    pub(super) paths: &'a [Path],
    pub(super) conditions: &'a [Condition],
    /// For conditions that the table has no form of.
    pub(super) facts: OnceCell<FactCache<'a, RequestInput>>,
}

impl Source for Judged<'_> {
    fn view(&self, slot: u32) -> View<'_> {
        let place = self.places.get(slot as usize).and_then(Option::as_ref);
        place.map_or(View::Undefined, |place| place.view(self.request, self.now))
    }

    fn now(&self) -> i64 {
        self.now.nanos()
    }

    fn truth(&self, condition: u32) -> Truth {
        let facts = self.facts.get_or_init(|| FactCache::new(self.request, self.now, self.paths, 0));
        self.conditions.get(condition as usize).map_or(Truth::Unknown, |condition| condition.truth(facts))
    }
}
