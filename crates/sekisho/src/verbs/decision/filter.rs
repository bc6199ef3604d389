//! Which records are wanted.

use clap::{Args, ValueEnum};
use sekisho_api::DecisionForm;
use sekisho_events::NodeEvent;
use sekisho_runtime::{now, parse_time, seconds_in};
use sekisho_types::UnixTime;

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Filter {
    /// Only records with this effect
    #[arg(long, env = "SEKISHO_EFFECT", value_enum)]
    effect: Option<Effect>,
    /// Only requests from this service: its SPIFFE ID, its path, or the last parts of it
    #[arg(long, env = "SEKISHO_DECISION_SOURCE")]
    source: Option<String>,
    /// Only requests to this service: its SPIFFE ID, its path, or the last parts of it
    #[arg(long, env = "SEKISHO_DECISION_DESTINATION")]
    destination: Option<String>,
    /// Only decisions by this rule, or by a rule of this file: `authz.rego:11` or `authz.rego`
    #[arg(long, env = "SEKISHO_DECISION_RULE")]
    rule: Option<String>,
    /// Only requests whose path begins with this
    #[arg(long, env = "SEKISHO_DECISION_PATH")]
    path: Option<String>,
    /// Only records since this time (`2027-01-31T12:00:00Z`) or of this last period (`1h30m`)
    #[arg(long, env = "SEKISHO_DECISION_SINCE", value_parser = since)]
    since: Option<UnixTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Effect {
    Allow,
    Deny,
    /// A process without an identity, or a refused peer or call
    Refusal,
}

fn since(text: &str) -> Result<UnixTime, String> {
    if text.contains(['T', ':']) {
        return parse_time(text);
    }
    seconds_in(0..)(text).map(|seconds| now().plus_seconds(-i64::from(seconds)))
}

impl Filter {
    pub(super) fn effect(&self) -> Option<&'static str> {
        self.effect.map(|effect| match effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
            Effect::Refusal => "refusal",
        })
    }

    /// Whether the server can do all of it.
    pub(super) const fn is_of_effect_only(&self) -> bool {
        let Self { source, destination, rule, path, since, .. } = self;
        source.is_none() && destination.is_none() && rule.is_none() && path.is_none() && since.is_none()
    }

    /// Whether what is older than this is not wanted.
    pub(super) fn is_before(&self, at_ms: i64) -> bool {
        self.since.is_some_and(|since| at_ms < since.millis())
    }

    pub(crate) fn wants(&self, form: &DecisionForm) -> bool {
        if self.effect().is_some_and(|effect| effect != form.effect) || self.is_before(form.at_ms) {
            return false;
        }
        if self.source.is_none() && self.destination.is_none() && self.rule.is_none() && self.path.is_none() {
            return true;
        }
        let Ok(event) = form.read() else { return false };
        let (source, destination) = ends(&event);
        let (rule, path) = match &event {
            NodeEvent::Decided(decided) => {
                let rule = decided.recorded.decision.rule.as_ref().map(sekisho_policy::RuleOutcome::place);
                (rule, Some(decided.recorded.request.joined_path()))
            }
            _ => (None, None),
        };
        let is = |wanted: &Option<String>, found: Option<String>| {
            wanted.as_ref().is_none_or(|wanted| found.is_some_and(|found| is_service(&found, wanted)))
        };
        let is_rule = |wanted: &String| {
            rule.as_ref().is_some_and(|rule| rule == wanted || rule.starts_with(&format!("{wanted}:")))
        };
        let is_path = |wanted: &String| path.as_ref().is_some_and(|path| path.starts_with(wanted.as_str()));
        is(&self.source, source)
            && is(&self.destination, destination)
            && self.rule.as_ref().is_none_or(is_rule)
            && self.path.as_ref().is_none_or(is_path)
    }
}

/// Who asked and who was asked, as far as a record knows.
pub(crate) fn ends(event: &NodeEvent) -> (Option<String>, Option<String>) {
    match event {
        NodeEvent::Decided(decided) => {
            let request = &decided.recorded.request;
            (Some(request.subject.spiffe_id.to_string()), Some(request.destination.to_string()))
        }
        NodeEvent::PeerRefused(refused) => (Some(refused.peer.clone()), Some(refused.destination.to_string())),
        NodeEvent::NoIdentity(refused) => (refused.nearest.as_ref().map(|near| near.spiffe_id.to_string()), None),
        NodeEvent::CallRefused(_) => (None, None),
    }
}

/// Whether a SPIFFE ID is meant: it is given whole, as its path, or as the last parts of that.
pub(crate) fn is_service(id: &str, given: &str) -> bool {
    let wanted = given.trim_start_matches('/');
    id == given || (!wanted.is_empty() && id.ends_with(&format!("/{wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_its_last_parts() {
        let id = "spiffe://td/ns/finance/sa/shop";
        for given in [id, "/ns/finance/sa/shop", "sa/shop", "shop"] {
            assert!(is_service(id, given), "{given}");
        }
        for given in ["", "hop", "spiffe://td", "/"] {
            assert!(!is_service(id, given), "{given}");
        }
    }

    #[test]
    fn records_are_wanted_by_what_they_say() {
        let rule = serde_json::json!({"file": "a.rego", "line": 5, "unknown": 0, "unmet": []});
        let subject = serde_json::json!({"claims": {}, "issued_at": 5, "spiffe_id": "spiffe://td/a"});
        let input = serde_json::json!({"destination": "spiffe://td/b", "headers": {}, "method": "GET",
            "path": ["v1", "x"], "query": "", "request_id": "r", "subject": subject});
        let record = serde_json::json!({"at_ms": 5000, "effect": "allow", "error": null, "facts": {},
            "id": "dec_00000000000500112233445566778899", "input": input, "kind": "decision", "latency_us": 1,
            "now_ns": 5_000_000, "policy_digest": null, "policy_revision": 3, "rule": rule,
            "span_id": "00".repeat(8), "trace_id": "00".repeat(16)});
        let id = "dec_00000000000500112233445566778899".to_owned();
        let form = DecisionForm { id, at_ms: 5000, effect: "allow".into(), log_index: 1, record };
        let text = |text: &str| Some(text.to_owned());
        let all = Filter::default();
        for filter in [
            Filter { source: text("a"), destination: text("/b"), ..all.clone() },
            Filter { rule: text("a.rego"), ..all.clone() },
            Filter { rule: text("a.rego:5"), path: text("/v1"), ..all.clone() },
            Filter { since: Some(UnixTime::from_seconds(5)), effect: Some(Effect::Allow), ..all.clone() },
        ] {
            assert!(filter.wants(&form), "{filter:?}");
        }
        for filter in [
            Filter { source: text("b"), ..all.clone() },
            Filter { rule: text("a.rego:6"), ..all.clone() },
            Filter { path: text("/v2"), ..all.clone() },
            Filter { since: Some(UnixTime::from_seconds(6)), ..all.clone() },
            Filter { effect: Some(Effect::Deny), ..all },
        ] {
            assert!(!filter.wants(&form), "{filter:?}");
        }
    }
}
