//! What earlier releases decided and recorded is decided alike.

use std::sync::Arc;

use sekisho_policy::{Decision, PolicySet, Recorded, Replayed, RequestInput, Source};
use sekisho_types::UnixTime;
use serde_json::json;

use crate::{Decided, DecisionId, NodeEvent};

/// In force in the fixture that the release before this one left (`crates/lab/tests/it/fixtures/state-v4`).
const EARLIER: (&str, &str) = ("p.rego", include_str!("golden_policies/p.rego"));
/// Rules of the lowering, rules of the engine, hidden values and errors.
const VARIED: (&str, &str) = ("varied.rego", include_str!("golden_policies/varied.rego"));
/// The decisions of that policy, recorded when the records of this release got their form.
const RECORDED: &str = include_str!("golden_decisions.txt");

fn load((name, text): (&str, &str)) -> PolicySet {
    PolicySet::load(vec![Source { name: name.into(), text: text.into() }]).unwrap()
}

/// The decisions of a policy among records.
fn decided_by(policy: &PolicySet, records: &str) -> Vec<Decided> {
    let decided = records.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        match NodeEvent::decode(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}")) {
            NodeEvent::Decided(decided) => Some(*decided),
            _ => None,
        }
    });
    decided.filter(|one| one.recorded.policy_digest == Some(policy.digest())).collect()
}

fn again(policy: &PolicySet, one: &Decided) -> Decision {
    match policy.replay(&one.recorded, None) {
        Replayed::Decided(decision) => decision,
        other => panic!("{other:?} for {one:?}"),
    }
}

/// What a user sees of a decision: effect, rule, what was unmet, and the error.
type Seen<'a> = (String, Option<String>, Vec<(u32, String)>, Option<&'a str>);

fn seen(decision: &Decision) -> Seen<'_> {
    let rule = decision.rule.as_ref();
    let unmet = rule.into_iter().flat_map(|rule| &rule.unmet).map(|unmet| (unmet.line, unmet.condition.clone()));
    let place = rule.map(|rule| rule.place());
    (decision.effect.as_str().to_owned(), place, unmet.collect(), decision.error.as_deref())
}

#[test]
fn decisions_of_the_earlier_release_replay_alike() {
    let policy = load(EARLIER);
    let decided = decided_by(&policy, include_str!("golden_records.txt"));
    assert_eq!(decided.len(), 3);
    for one in &decided {
        assert_eq!(seen(&again(&policy, one)), seen(&one.recorded.decision), "{one:?}");
    }
}

#[test]
fn decisions_of_every_kind_replay_alike() {
    let policy = load(VARIED);
    let decided = decided_by(&policy, RECORDED);
    assert_eq!(decided.len(), requests().len());
    for one in &decided {
        assert_eq!(again(&policy, one).effect, one.recorded.decision.effect, "{one:?}");
    }
    for effect in ["allow", "deny"] {
        assert!(decided.iter().any(|one| one.recorded.decision.effect.as_str() == effect), "{effect}");
    }
    assert!(decided.iter().any(|one| one.recorded.decision.error.is_some()));
    assert!(decided.iter().any(|one| !one.recorded.answers.is_empty()));
}

fn now() -> UnixTime {
    UnixTime::from_seconds(1_795_700_000)
}

fn requests() -> Vec<RequestInput> {
    let ways = [
        ("GET", "v1/balance", "", json!({})),
        ("GET", "v1/other", "", json!({})),
        ("POST", "v1/pay", "", json!({"x-region": "eu", "x-role": "writer"})),
        ("POST", "v1/pay", "", json!({"x-region": "us", "x-role": "owner"})),
        ("POST", "v1/pay", "", json!({"x-region": "ch", "x-role": "reader"})),
        ("PUT", "v1/pay", "", json!({"authorization": "Bearer good"})),
        ("PUT", "v1/pay", "", json!({"authorization": "Bearer bad"})),
        ("PATCH", "a/b", "", json!({})),
        ("PATCH", "a/admin", "", json!({})),
        ("PATCH", "a/1", "", json!({})),
        ("HEAD", "a", "probe=1&x=2", json!({"x-from": "10.1.2.3"})),
        ("HEAD", "a", "probe=2", json!({"x-from": "10.1.2.3"})),
        ("HEAD", "a", "probe=1", json!({"x-from": "no address"})),
        ("OPTIONS", "a", "", json!({})),
        ("TRACE", "a", "", json!({})),
        ("TRACE", "a", "", json!({"x-trace": "on"})),
    ];
    let request = |(method, path, query, headers): (&str, &str, &str, serde_json::Value)| {
        let path: Vec<&str> = path.split('/').collect();
        let claims = json!({"level": 3, "zero": 0, "hw_attested": true});
        let issued_at = now().nanos() - 60_000_000_000;
        let subject = json!({"spiffe_id": "spiffe://td.example/till", "issued_at": issued_at, "claims": claims});
        let destination = "spiffe://td.example/ledger";
        RequestInput::from_json(&json!({"method": method, "path": path, "query": query, "headers": headers,
            "destination": destination, "request_id": "r", "subject": subject}))
        .unwrap()
    };
    ways.into_iter().map(request).collect()
}

/// `cargo test -p sekisho-events records_of_now -- --ignored --nocapture` shows what this release would record.
#[test]
#[ignore = "it shows records, and does not test"]
fn records_of_now() {
    let policy = load(VARIED);
    for (at, request) in requests().into_iter().enumerate() {
        let request = Arc::new(request);
        let recorded = Recorded::of(&request, now(), policy.decide(&request, now()), 3, Some(&policy));
        let id = DecisionId::new([u8::try_from(at).unwrap(); 16]);
        let decided = Decided { id, trace_id: [1; 16], span_id: [2; 8], recorded, latency_micros: 2 };
        println!("{}", String::from_utf8(NodeEvent::Decided(Box::new(decided)).encode()).unwrap());
    }
}
