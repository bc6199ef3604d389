//! The record of a decision: what a log keeps, and what a replay needs.

use sekisho_types::{DecisionId, Digest, Effect, UnixTime};
use serde_json::{Value as Json, json};

use crate::{Decision, RequestInput};

/// Everything that is known of one decision.
#[derive(Debug, Clone)]
pub struct DecisionRecord<'a> {
    pub id: &'a DecisionId,
    /// W3C trace context: 32 and 16 hexadecimal digits.
    pub trace_id: &'a str,
    pub span_id: &'a str,
    pub request: &'a RequestInput,
    pub now: UnixTime,
    pub policy_revision: u64,
    pub policy_digest: Option<Digest>,
    pub decision: &'a Decision,
    pub latency_micros: u64,
}

impl DecisionRecord<'_> {
    /// The record in canonical form: one line of JSON, members in order.
    pub fn to_json(&self) -> Json {
        let rule = self.decision.rule.as_ref().map(|rule| {
            let unmet: Vec<Json> = rule
                .unmet
                .iter()
                .map(|unmet| json!({"line": unmet.line, "condition": unmet.condition, "found": unmet.found}))
                .collect();
            json!({"file": rule.file, "line": rule.line, "unmet": unmet, "unknown": rule.unknown})
        });
        json!({
            "kind": "decision",
            "id": self.id.as_str(),
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "at_ms": self.now.millis(),
            "now_ns": self.now.nanos(),
            "input": self.request.to_masked_json(),
            "facts": {},
            "policy_revision": self.policy_revision,
            "policy_digest": self.policy_digest.map(|digest| digest.to_string()),
            "effect": self.decision.effect.as_str(),
            "rule": rule,
            "error": self.decision.error,
            "latency_us": self.latency_micros,
        })
    }

    /// Whether the decision is an allow; denials are recorded with more care.
    pub const fn effect(&self) -> Effect {
        self.decision.effect
    }
}
