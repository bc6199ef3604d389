use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use sekisho_types::{ClaimValue, Claims, Effect, SpiffeId, UnixTime};

use crate::{PolicySet, RequestInput, Source, SubjectInput};

fn load(rules: &str) -> PolicySet {
    let text = format!("package workload.authz\ndefault allow := false\n{rules}\n");
    let set = PolicySet::load(vec![Source { name: "a.rego".into(), text }]);
    set.unwrap_or_else(|error| panic!("{error} in {}", rules.get(..300).unwrap_or(rules)))
}

fn now() -> UnixTime {
    UnixTime::from_seconds(1_800_000_000)
}

fn request(method: &str, path: &str, level: ClaimValue) -> RequestInput {
    let mut claims = Claims::default();
    claims.set("level", level);
    claims.set("region", ClaimValue::Text("eu".into()));
    let id = SpiffeId::parse("spiffe://td/ns/pay/sa/gateway").unwrap();
    RequestInput {
        method: method.into(),
        path: path.split('/').map(str::to_owned).collect(),
        query: "a=b".into(),
        headers: BTreeMap::from([("x-region".to_owned(), "EU-west".to_owned())]),
        subject: Arc::new(SubjectInput { spiffe_id: id.clone(), claims, issued_at: now().plus_seconds(-60) }),
        destination: id,
        request_id: "r".into(),
    }
}

fn requests() -> Vec<RequestInput> {
    let levels = [ClaimValue::Integer(3), ClaimValue::Integer(0), ClaimValue::Text("3".into()), ClaimValue::Bool(true)];
    let shapes = [("GET", "v1/accounts"), ("get", "v1"), ("PUT", ""), ("GET", "admin/é/x"), ("POST", "v1/a/b")];
    let of = |level: &ClaimValue| shapes.map(|(method, path)| request(method, path, level.clone()));
    levels.iter().flat_map(of).collect()
}

/// How many rules the lowering decides.
fn decided(set: &PolicySet) -> usize {
    set.lowered.rules.iter().filter(|rule| rule.decided).count()
}

/// Effect, rule, conditions and error are those of the engine with all rules. Returns how often it allows and errs.
fn same_as_the_engine(set: &PolicySet, what: &str) -> (usize, usize) {
    let (mut allowed, mut failed) = (0, 0);
    for request in requests() {
        let (ours, engine) = (set.decide(&request, now()), set.decide_by_engine(&request, now()));
        assert_eq!(ours, engine, "{what} on {request:?}");
        allowed += usize::from(ours.effect.is_allow());
        failed += usize::from(ours.error.is_some());
    }
    (allowed, failed)
}

#[test]
fn common_builtins_are_decided_without_the_engine() {
    for (condition, allowed) in [
        ("startswith(input.path[0], \"v\")", 12),
        ("endswith(input.subject.spiffe_id, \"gateway\")", 20),
        ("contains(input.headers[\"x-region\"], \"west\")", 20),
        ("not startswith(input.path[1], \"a\")", 12),
        ("lower(input.method) == \"get\"", 12),
        ("upper(input.method) in {\"GET\", \"HEAD\"}", 12),
        ("count(input.path) >= 2", 12),
        ("count(input.path) + 1 == 3", 4),
        ("count(input.headers) == 1", 20),
        ("input.path[0] == \"v1\"", 12),
        ("input.path[9] == \"v1\"", 0),
        ("split(input.subject.spiffe_id, \"/\")", 20),
        ("concat(\"/\", input.path) == \"v1/accounts\"", 4),
        ("trim_prefix(input.path[0], \"v\") == \"1\"", 12),
        ("substring(input.method, 0, 1) == \"G\"", 8),
        ("indexof(input.path[0], \"m\") == 2", 4),
        ("regex.match(\"^v[0-9]+$\", input.path[0])", 12),
        ("glob.match(\"spiffe://td/ns/*/sa/*\", [\"/\"], input.subject.spiffe_id)", 20),
        ("object.get(input.headers, \"x-tenant\", \"none\") == \"none\"", 20),
        ("object.get(input.subject.claims, \"level\", 0) == 3", 5),
        ("is_string(input.subject.claims.level)", 5),
        ("type_name(input.subject.claims.level) == \"boolean\"", 5),
        ("input.subject.claims.region in [\"eu\", lowest]", 20),
        ("strings.any_prefix_match(input.path[0], [\"v\", \"w\"])", 12),
        ("net.cidr_contains(\"10.0.0.0/8\", \"10.1.2.3\")", 20),
        ("array.slice(input.path, 0, 1) == [\"v1\"]", 12),
    ] {
        let set = load(&format!("lowest := \"us\"\nallow if {{\n\t{condition}\n}}"));
        assert!(set.lowered.is_complete(), "{condition}");
        assert_eq!(same_as_the_engine(&set, condition), (allowed, 0), "{condition}");
    }
}

/// A builtin errs on a value of another kind, and an error denies: the engine says so.
#[test]
fn law_l3_an_error_of_a_lowered_builtin_denies() {
    for (condition, failed) in [
        ("startswith(input.subject.claims.level, \"3\")", 15),
        ("not startswith(input.subject.claims.level, \"3\")", 15),
        ("input.method == \"GET\"; count(input.subject.claims.level) == 1", 6),
        ("substring(input.method, input.subject.claims.level, 1) == \"\"", 10),
        ("regex.match(input.path[0], \"(\")", 0),
        ("regex.match(\"(\", input.path[0])", 20),
        // An absent argument decides before a call that may err.
        ("startswith(lower(input.subject.claims.level), input.path[9])", 0),
    ] {
        let set = load(&format!("allow if {{ {condition} }}\nallow if input.path[0] == \"v1\""));
        assert!(set.lowered.is_complete() || set.rest.is_some() || !set.lowered.apart, "{condition}");
        let (_, errors) = same_as_the_engine(&set, condition);
        assert_eq!(errors, failed, "{condition}");
    }
}

#[test]
fn one_engine_rule_leaves_others_to_the_lowering() {
    let rules: String = (0..1_000).fold(String::new(), |mut out, n| {
        writeln!(out, "allow if {{\n\tinput.method == \"GET\"\n\tinput.path[1] == \"p{n}\"\n}}").unwrap();
        out
    });
    for (opaque, allowed, failed) in [
        ("allow if { some step in input.path; step == \"accounts\" }", 4, 0),
        ("allow := true if { every step in input.path { step != \"accounts\" } }", 16, 0),
        ("allow if { to_number(input.path[0]) > 1 }", 0, 20),
        ("allow := false if { some step in input.path; step == \"accounts\" }", 0, 0),
        ("allow := \"yes\" if { some step in input.path; step == \"accounts\" }", 0, 0),
        ("allow := false if input.method == \"PUT\"", 0, 0),
        ("allow if { input.method == \"x\" } else := false if { input.method == \"GET\" }", 0, 0),
    ] {
        let set = load(&format!("{rules}{opaque}"));
        assert_eq!((decided(&set), set.rest.is_some()), (1_000, true), "{opaque}");
        assert_eq!(same_as_the_engine(&set, opaque), (allowed, failed), "{opaque}");
    }
}

/// A rule of each kind holds on one request, and they differ.
#[test]
fn law_l3_rules_with_different_values_deny() {
    for other in ["false", "\"yes\"", "{\"a\": 1}", "[true]"] {
        let set = load(&format!(
            "allow if input.method == \"GET\"\nallow := {other} if {{ some step in input.path; step == \"v1\" }}"
        ));
        assert!(set.rest.is_some());
        let (allowed, failed) = same_as_the_engine(&set, other);
        assert_eq!((allowed, failed), (4, 4), "{other}");
        let decision = set.decide(&request("GET", "v1", ClaimValue::Bool(true)), now());
        assert!(decision.error.unwrap().contains("two rules give different values"));
        // Without the rule that allows, another value denies without an error.
        assert_eq!(set.decide(&request("PUT", "v1", ClaimValue::Bool(true)), now()).effect, Effect::Deny);
    }
}

#[test]
fn a_changed_entry_rule_needs_the_engine() {
    for rules in [
        "allow if input.method == \"GET\"\nallow if { some s in input.path; s == \"v1\" }\nimport data.x as y",
        "allow if startswith(input.method, \"G\")\nstartswith(x, y) if x == \"PUT\"",
        "allow if { some workload in input.path; workload == \"v1\" }\nworkload := \"v1\"\nallow if workload == input.method",
        "allow if { input.method == \"GET\" }\nallow if { x := input.method; not y(x) }\ny(x) if x == \"GET\"",
        "a.b := 1\nallow if { input.method == \"GET\" }\nallow if { some k; a[k] == 1 }",
    ] {
        let rules = match rules.split_once("\nimport ") {
            Some((rules, import)) => format!("import {import}\n{rules}"),
            None => rules.to_owned(),
        };
        let text = format!("package workload.authz\n{rules}\n");
        let sources = vec![
            Source { name: "a.rego".into(), text },
            Source { name: "b.rego".into(), text: "package x\nz := 1\n".into() },
        ];
        let set = PolicySet::load(sources).unwrap_or_else(|error| panic!("{error}: {rules}"));
        same_as_the_engine(&set, &rules);
    }
}

/// Sixteen names, each twice the one before, were 65,536 terms in each condition that used the last.
#[test]
fn law_l9_names_of_names_do_not_multiply() {
    let doubled = |last: usize, link: &str| {
        let names: String = (1..=last).fold("a0 := 1\n".to_owned(), |mut out, n| {
            let before = n - 1;
            let value = link.replace('x', &format!("a{before}"));
            writeln!(out, "a{n} := {value}").unwrap();
            out
        });
        let compared = if link.contains('+') { format!("== a{last}") } else { format!("in [a{last}]") };
        format!("{names}allow if input.subject.claims.level {compared}\nallow if input.method == \"GET\"\n")
    };
    for (link, last, here) in [("x + x", 7, 2), ("x + x", 16, 1), ("[x, x]", 11, 2), ("{x, 2}", 16, 2)] {
        let set = load(&doubled(last, link));
        assert_eq!(decided(&set), here, "{link} {last}");
        same_as_the_engine(&set, link);
    }
    // Many conditions share one budget.
    let many: String = (0..2_000).fold(doubled(6, "x + x"), |mut out, n| {
        writeln!(out, "allow if input.subject.claims.level + {n} == a6").unwrap();
        out
    });
    let here = decided(&load(&many));
    assert!((400..600).contains(&here), "{here}");
}
