//! Requests from JSON: what an author types, and what a record kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use sekisho_types::{ClaimValue, Claims, SpiffeId, UnixTime};
use serde_json::Value as Json;

use crate::{RequestInput, SubjectInput};

impl RequestInput {
    /// Reads an input document as an author types it: as [`Self::from_json`], and no member may be unknown.
    pub fn from_author(value: &Json) -> Result<Self, String> {
        crate::schema::check_document(value)?;
        Self::from_json(value)
    }

    /// Reads an input document. The message names the member that is missing or of another kind.
    pub fn from_json(value: &Json) -> Result<Self, String> {
        let missing = |name: &str| format!("the input has no valid `{name}`");
        let text = |pointer: &str| value.pointer(pointer).and_then(Json::as_str);
        let id =
            |pointer: &str| text(pointer).and_then(|text| SpiffeId::parse(text).ok()).ok_or_else(|| missing(pointer));
        let mut claims = Claims::default();
        for (name, claim) in value.pointer("/subject/claims").and_then(Json::as_object).into_iter().flatten() {
            let claim = match claim {
                Json::Bool(flag) => ClaimValue::Bool(*flag),
                Json::Number(number) => ClaimValue::Integer(number.as_i64().ok_or_else(|| missing("subject.claims"))?),
                Json::String(text) => ClaimValue::Text(text.clone()),
                Json::Array(texts) => ClaimValue::List(
                    texts
                        .iter()
                        .map(|text| text.as_str().map(str::to_owned).ok_or_else(|| missing("subject.claims")))
                        .collect::<Result<_, _>>()?,
                ),
                _ => return Err(missing("subject.claims")),
            };
            claims.set(name, claim);
        }
        let path = value.get("path").and_then(Json::as_array).ok_or_else(|| missing("path"))?;
        let segment = |segment: &Json| segment.as_str().map(str::to_owned).ok_or_else(|| missing("path"));
        let headers = value.get("headers").and_then(Json::as_object).into_iter().flatten();
        let header = |(name, value): (&String, &Json)| {
            let value = value.as_str().ok_or_else(|| missing(&format!("headers.{name}")))?;
            Ok::<_, String>((name.clone(), value.to_owned()))
        };
        let issued_at = value.pointer("/subject/issued_at").and_then(Json::as_i64).unwrap_or(0);
        Ok(Self {
            method: text("/method").ok_or_else(|| missing("method"))?.to_owned(),
            path: path.iter().map(segment).collect::<Result<_, _>>()?,
            query: text("/query").unwrap_or_default().to_owned(),
            headers: headers.map(header).collect::<Result<BTreeMap<_, _>, _>>()?,
            subject: Arc::new(SubjectInput {
                spiffe_id: id("/subject/spiffe_id")?,
                claims,
                issued_at: UnixTime::from_nanos(issued_at),
            }),
            destination: id("/destination").or_else(|_| id("/subject/spiffe_id"))?,
            request_id: text("/request_id").unwrap_or_default().to_owned(),
        })
    }
}
