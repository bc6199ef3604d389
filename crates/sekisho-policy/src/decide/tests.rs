use std::collections::BTreeMap;

use sekisho_types::{ClaimValue, Claims, SpiffeId};

use super::*;
use crate::{PolicyError, Source, SubjectInput};

const V0: &str = r#"package workload.authz
default allow = false
workload_id := input.subject.spiffe_id
allow {
  input.method == "POST"
  input.path == ["v1", "transactions"]
  workload_id == "spiffe://prod.internal/ns/finance/sa/payment-gateway"
  input.subject.claims.hw_attested == true
  input.subject.issued_at > (time.now_ns() - (15 * 60 * 1000000000))
}
"#;

fn load(text: &str) -> Result<PolicySet, PolicyError> {
    PolicySet::load(vec![Source { name: "authz.rego".into(), text: text.into() }])
}

fn request(hw_attested: bool) -> RequestInput {
    let mut claims = Claims::default();
    claims.set("hw_attested", ClaimValue::Bool(hw_attested));
    RequestInput {
        method: "POST".into(),
        path: vec!["v1".into(), "transactions".into()],
        headers: BTreeMap::new(),
        subject: SubjectInput {
            spiffe_id: SpiffeId::parse("spiffe://prod.internal/ns/finance/sa/payment-gateway").unwrap(),
            claims,
            issued_at: now().plus_seconds(-60),
        },
        destination: SpiffeId::parse("spiffe://prod.internal/ns/finance/sa/transactions").unwrap(),
        request_id: "r".into(),
    }
}

fn now() -> UnixTime {
    UnixTime::from_seconds(1_800_000_000)
}

#[test]
fn the_printed_policy_denies_for_the_one_condition_that_fails() {
    let v1 = V0.replace("default allow = false", "default allow := false").replace("allow {", "allow if {");
    for text in [V0, v1.as_str()] {
        let policy = load(text).unwrap();
        assert!(policy.decide(&request(true), now()).effect.is_allow());
        let denied = policy.decide(&request(false), now());
        assert_eq!(denied.effect, Effect::Deny);
        let rule = denied.rule.unwrap();
        assert_eq!((rule.place().as_str(), rule.unknown), ("authz.rego:4", 0));
        let unmet: Vec<_> = rule.unmet.iter().map(|u| (u.line, u.condition.as_str(), u.found.as_deref())).collect();
        assert_eq!(unmet, [(8, "input.subject.claims.hw_attested == true", Some("false"))]);
    }
}

#[test]
fn the_clock_of_a_decision_is_its_argument() {
    let policy = load(V0).unwrap();
    assert!(!policy.decide(&request(true), now().plus_seconds(15 * 60 - 60)).effect.is_allow());
    assert!(policy.decide(&request(true), now().plus_seconds(15 * 60 - 61)).effect.is_allow());
}

#[test]
fn law_l3_errors_and_undefined_deny() {
    for body in [
        "1 / input.nothing > 0",
        "input.no.such.thing",
        "to_number(input.method) > 1",
        "sprintf(\"%d\", [input.method]) == 1",
        "regex.match(\"(\", input.method)",
    ] {
        let policy = load(&format!("package workload.authz\nimport rego.v1\nallow if {{\n {body}\n}}\n"));
        if let Ok(policy) = policy {
            assert_eq!(policy.decide(&request(true), now()).effect, Effect::Deny, "{body}");
        }
    }
    let weird = load("package workload.authz\nimport rego.v1\nallow := \"yes\"\n").unwrap();
    assert_eq!(weird.decide(&request(true), now()).effect, Effect::Deny);
}

#[test]
fn an_empty_pattern_does_not_crash_the_engine() {
    let text = "package workload.authz\nimport rego.v1\nallow if {\n strings.count(input.method, \"\") == 5\n}\n";
    assert!(load(text).unwrap().decide(&request(true), now()).effect.is_allow());
}

#[test]
fn law_l9_an_endless_evaluation_ends_as_a_denial() {
    let text = "package workload.authz\nimport rego.v1\nallow if {\n xs := numbers.range(1, 3000)\n \
                count([1 | some a in xs; some b in xs; some c in xs; a * b == c]) > 0\n}\n";
    let decision = load(text).unwrap().decide(&request(true), now());
    assert_eq!(decision.effect, Effect::Deny);
    assert!(decision.error.is_some());
}

#[test]
fn a_broken_policy_is_refused_with_file_line_and_reason() {
    let broken = load("package workload.authz\nimport rego.v1\nallow if {\n input.method ==\n}\n");
    assert!(
        matches!(broken, Err(PolicyError::At { ref file, line: 4 | 5, .. }) if file == "authz.rego"),
        "{:?}",
        broken.err()
    );
    assert_eq!(load("package other\nx := 1\n").err(), Some(PolicyError::NoEntryRule));
    let recursive = load("package workload.authz\nimport rego.v1\nallow if a\na if b\nb if a\n");
    assert!(recursive.is_err());
}

#[test]
fn law_l13_a_policy_cannot_call_out() {
    let text = "package workload.authz\nimport rego.v1\nallow if {\n \
                http.send({\"method\": \"GET\", \"url\": \"http://127.0.0.1:1/\"}).status_code == 200\n}\n";
    match load(text) {
        Err(error) => assert!(error.to_string().contains("http.send"), "{error}"),
        Ok(policy) => assert_eq!(policy.decide(&request(true), now()).effect, Effect::Deny),
    }
    let random = load("package workload.authz\nimport rego.v1\nallow if rand.intn(\"x\", 2) == 0\n");
    assert!(random.is_err(), "a decision that draws lots cannot be replayed");
}

#[test]
fn law_l3_an_error_in_a_rule_that_feeds_a_deny_denies() {
    let text = "package workload.authz\nimport rego.v1\nallow if not blocked\n\
                blocked if to_number(input.method) > 1\n";
    let decision = load(text).unwrap().decide(&request(true), now());
    assert_eq!(decision.effect, Effect::Deny);
    assert!(decision.error.is_some());
}
