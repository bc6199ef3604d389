//! A request as the sidecar holds it, as a source of facts without a document.

use std::borrow::Cow;

use sekisho_rego::value::Value;
use sekisho_types::UnixTime;

use super::facts::{Facts, Path};
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
