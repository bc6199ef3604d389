//! The record of a decision: what a log keeps, and what a replay needs. Its form is canonical JSON: one line, members in
//! order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;

use sekisho_types::{ClaimValue, Claims, DecisionId, Digest, SpiffeId, UnixTime};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::reads::Place;
use crate::{Decision, PolicySet, RequestInput, RuleOutcome, SubjectInput, Unmet};

/// What stands in a record in place of a masked value.
pub const MASK: &str = "***";
/// A record keeps this much of a header; a peer chooses how long they are.
pub(crate) const MAX_KEPT: usize = 2048;

/// Everything that is known of one decision.
#[derive(Clone)]
pub struct DecisionRecord<'a> {
    pub id: &'a DecisionId,
    /// W3C trace context.
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub request: &'a RequestInput,
    pub now: UnixTime,
    pub policy_revision: u64,
    /// The policy set that decided.
    pub policy: Option<&'a PolicySet>,
    pub decision: &'a Decision,
    pub latency_micros: u64,
}

impl DecisionRecord<'_> {
    /// Writes the record behind what `out` holds. Header values that may hold a secret are masked; of what the policy asked
    /// about them, and about values that are cut, the record has the answers.
    pub fn write(&self, out: &mut Vec<u8>) {
        let answers = self.policy.map(|policy| policy.reads.answers(self.request, is_hidden)).unwrap_or_default();
        let form = RecordForm {
            answers_to: self.policy.filter(|_| !answers.is_empty()).map(|policy| policy.reads.digest()),
            answers,
            at_ms: self.now.millis(),
            effect: self.decision.effect.as_str(),
            error: self.decision.error.as_deref(),
            facts: BTreeMap::new(),
            id: self.id.as_str(),
            input: InputForm::of(self.request),
            kind: "decision",
            latency_us: self.latency_micros,
            now_ns: self.now.nanos(),
            policy_digest: self.policy.map(|policy| Shown(policy.digest())),
            policy_revision: self.policy_revision,
            rule: self.decision.rule.as_ref().map(RuleForm::of),
            span_id: hex::encode(self.span_id),
            trace_id: hex::encode(self.trace_id),
        };
        // Memory does not fail, and every member is text, a number or a list of those.
        let _written = serde_json::to_writer(out, &form);
    }
}

// Members stand in the order of their names: what is written is canonical without being sorted.
#[derive(Serialize)]
struct RecordForm<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    answers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers_to: Option<&'a str>,
    at_ms: i64,
    effect: &'static str,
    error: Option<&'a str>,
    facts: BTreeMap<String, ()>,
    id: &'a str,
    input: InputForm<'a>,
    kind: &'static str,
    latency_us: u64,
    now_ns: i64,
    policy_digest: Option<Shown<Digest>>,
    policy_revision: u64,
    rule: Option<RuleForm<'a>>,
    span_id: String,
    trace_id: String,
}

#[derive(Serialize)]
struct InputForm<'a> {
    destination: Shown<&'a SpiffeId>,
    headers: Headers<'a>,
    method: &'a str,
    path: &'a [String],
    query: String,
    request_id: &'a str,
    subject: SubjectForm<'a>,
}

impl<'a> InputForm<'a> {
    fn of(request: &'a RequestInput) -> Self {
        Self {
            destination: Shown(&request.destination),
            headers: Headers(&request.headers),
            method: &request.method,
            path: &request.path,
            query: recorded_query(&request.query),
            request_id: &request.request_id,
            subject: SubjectForm::of(&request.subject),
        }
    }
}

#[derive(Serialize)]
struct SubjectForm<'a> {
    claims: ClaimsForm<'a>,
    issued_at: i64,
    spiffe_id: Shown<&'a SpiffeId>,
}

impl<'a> SubjectForm<'a> {
    fn of(subject: &'a SubjectInput) -> Self {
        let issued_at = subject.issued_at.nanos();
        Self { claims: ClaimsForm(&subject.claims), issued_at, spiffe_id: Shown(&subject.spiffe_id) }
    }
}

#[derive(Serialize)]
struct RuleForm<'a> {
    file: &'a str,
    line: u32,
    unknown: usize,
    unmet: Vec<UnmetForm<'a>>,
}

impl<'a> RuleForm<'a> {
    fn of(rule: &'a RuleOutcome) -> Self {
        let unmet = rule.unmet.iter().map(UnmetForm::of).collect();
        Self { file: &rule.file, line: rule.line, unknown: rule.unknown, unmet }
    }
}

#[derive(Serialize)]
struct UnmetForm<'a> {
    condition: &'a str,
    found: Option<Cow<'a, str>>,
    line: u32,
}

impl<'a> UnmetForm<'a> {
    fn of(unmet: &'a Unmet) -> Self {
        Self { condition: &unmet.condition, found: unmet.found.as_deref().map(shortened), line: unmet.line }
    }
}

/// A word, by its text.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

struct Headers<'a>(&'a BTreeMap<String, String>);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let kept = |name: &str, value| if is_sensitive(name) { Cow::Borrowed(MASK) } else { shortened(value) };
        to.collect_map(self.0.iter().map(|(name, value)| (name, kept(name, value))))
    }
}

struct ClaimsForm<'a>(&'a Claims);

impl Serialize for ClaimsForm<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0.iter() {
            match value {
                ClaimValue::Bool(flag) => map.serialize_entry(name, flag)?,
                ClaimValue::Integer(number) => map.serialize_entry(name, number)?,
                ClaimValue::Text(text) => map.serialize_entry(name, text)?,
            }
        }
        map.end()
    }
}

/// Whether a record leaves out some of the value that stood at `place`.
pub(crate) fn is_hidden(place: &Place, value: &str) -> bool {
    match place {
        Place::Header(name) => is_sensitive(name) || value.chars().nth(MAX_KEPT).is_some(),
        Place::Query => value.split('&').any(|parameter| !parameter.is_empty()) || value.len() > MAX_KEPT,
    }
}

/// What a record holds in the place of a query.
pub(crate) fn recorded_query(query: &str) -> String {
    shortened(&masked_query(query)).into_owned()
}

fn shortened(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(MAX_KEPT) {
        None => Cow::Borrowed(value),
        Some((end, _)) => Cow::Owned(format!("{}…", value.get(..end).unwrap_or_default())),
    }
}

/// A query with the names of its parameters and without their values; a parameter without `=` is all value.
pub(crate) fn masked_query(query: &str) -> String {
    let masked = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) => format!("{name}={MASK}"),
        None if parameter.is_empty() => String::new(),
        None => MASK.to_owned(),
    };
    query.split('&').map(masked).collect::<Vec<_>>().join("&")
}

pub(crate) fn is_sensitive(header: &str) -> bool {
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "dpop"]
        .iter()
        .any(|sign| header.contains(sign))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sekisho_types::Effect;
    use serde_json::Value;

    use super::*;

    fn request() -> RequestInput {
        let mut claims = Claims::default();
        claims.set("hw_attested", ClaimValue::Bool(true));
        claims.set("region", ClaimValue::Text("eu".into()));
        let headers =
            [("authorization", "Bearer x".to_owned()), ("x-note", "é".repeat(40_000)), ("x-refresh-token", "y".into())];
        RequestInput {
            method: "GET".into(),
            path: vec!["v1".into(), "a%20b".into()],
            query: "q=s3cret&t".into(),
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            subject: Arc::new(SubjectInput {
                spiffe_id: SpiffeId::parse_workload("spiffe://td/a").unwrap(),
                claims,
                issued_at: UnixTime::from_nanos(5),
            }),
            destination: SpiffeId::parse_workload("spiffe://td/b").unwrap(),
            request_id: "r-1".into(),
        }
    }

    #[test]
    fn a_record_is_canonical_masked_bounded_and_read_again() {
        let unmet = Unmet { line: 7, condition: "input.method == \"PUT\"".into(), found: Some("\"GET\"".into()) };
        let rule = RuleOutcome { file: "a.rego".into(), line: 5, unmet: vec![unmet], unknown: 0 };
        let decision = Decision { effect: Effect::Deny, rule: Some(rule), error: None };
        let request = request();
        let text = "package workload.authz\nallow if {\n\tstartswith(input.headers.authorization, \"Bearer \")\n\tinput.headers[\"x-note\"] == \"a\"\n}\n";
        let policy = PolicySet::load(vec![crate::Source { name: "a.rego".into(), text: text.into() }]).unwrap();
        let record = DecisionRecord {
            id: &DecisionId::parse("dec_00").unwrap(),
            trace_id: [1; 16],
            span_id: [2; 8],
            request: &request,
            now: UnixTime::from_nanos(1_234_567_890),
            policy_revision: 3,
            policy: Some(&policy),
            decision: &decision,
            latency_micros: 2,
        };
        let mut written = vec![];
        record.write(&mut written);
        assert!(written.len() < 10_000);
        let value: Value = serde_json::from_slice(&written).unwrap();
        // A JSON tree sorts its members.
        assert_eq!(value.to_string().as_bytes(), written);
        assert_eq!(value["input"]["headers"]["authorization"], MASK);
        assert_eq!(value["input"]["headers"]["x-refresh-token"], MASK);
        assert_eq!(value["rule"]["unmet"][0]["found"], "\"GET\"");
        assert_eq!(value["policy_digest"], policy.digest().to_string());
        assert_eq!(value["answers"], serde_json::json!({"headers.authorization": "1", "headers.x-note": "0"}));
        let read = RequestInput::from_json(&value["input"]).unwrap();
        assert_eq!((&read.subject, &read.path, read.query.as_str()), (&request.subject, &request.path, "q=***&***"));
    }
}
