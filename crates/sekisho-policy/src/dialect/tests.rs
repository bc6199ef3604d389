use sekisho_rego::syntax::ast::MAX_HEIGHT;
use sekisho_types::{ClaimValue, Claims, SpiffeId, UnixTime};

use super::*;
use crate::{PolicySet, RequestInput, SubjectInput};

fn load(body: &str) -> Result<PolicySet, PolicyError> {
    PolicySet::load(vec![Source { name: "a.rego".into(), text: format!("package workload.authz\n{body}\n") }])
}

fn version(body: &str) -> Dialect {
    load(body).unwrap().dialects().next().unwrap().1
}

fn request(method: &str) -> RequestInput {
    let mut claims = Claims::default();
    claims.set("hw_attested", ClaimValue::Bool(true));
    let id = SpiffeId::parse("spiffe://td/a").unwrap();
    RequestInput {
        method: method.into(),
        path: vec!["a".into()],
        query: String::new(),
        headers: std::collections::BTreeMap::new(),
        subject: std::sync::Arc::new(SubjectInput { spiffe_id: id.clone(), claims, issued_at: UnixTime::default() }),
        destination: id,
        request_id: "r".into(),
    }
}

/// Read as v0, each of these allows everything.
#[test]
fn law_l3_a_file_of_both_versions_is_refused() {
    for (body, line, old_line) in [
        (
            "default allow := false\nallow if {\n  input.method == \"GET\"\n}\nhelper {\n  input.method == \"x\"\n}",
            3,
            6,
        ),
        ("helper(x) {\n  x == 1\n}\nallow if { helper(2) }", 5, 2),
        ("helper = true {\n  input.method == \"x\"\n}\nallow if input.method == \"GET\"", 5, 2),
        ("allow\nif { input.method == \"GET\" }\nhelper { true }", 3, 4),
        ("allow if { input.method == \"GET\" } else { input.method == \"x\" }\nx[y] { y := 1 }", 2, 2),
        ("helper[x] { x := input.method }\nallow { every y in helper { y == 1 } }", 3, 2),
        ("allow { some x in input.path; x == \"b\" }", 2, 2),
        ("contains(x) { x == 1 }\nallow { contains(2) }", 2, 2),
        ("names contains x { x := 1 }\nallow { names[1] }", 2, 2),
        ("import rego.v1\nallow { input.method == \"GET\" }", 2, 3),
        ("import future.keywords\nallow { input.method == \"GET\" }", 2, 3),
        ("allow = true\nhelper { input.method == \"x\" }", 2, 3),
    ] {
        match load(body).map(|_| ()) {
            Err(PolicyError::Mixed { line: modern, old_line: old, .. }) => {
                assert_eq!((modern, old), (line, old_line), "{body}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
    // A word alone is not a rule in v0.
    for body in ["allow\nhelper { input.method == \"x\" }", "trusted\nallow { trusted }"] {
        let error = load(body).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("a.rego:2: var cannot be used for rule name"), "{error}");
    }
    // The same files as v0 or v1 alone are neither.
    let error = load("helper { true }\nallow if { true }").map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("a.rego:3") && error.contains("a.rego:2"), "{error}");
}

#[test]
fn a_file_is_read_in_its_version() {
    for body in [
        "default allow = false\nallow {\n  input.method == \"GET\"\n}",
        "allow { contains(input.method, \"GE\"); x := {1, 2}; count(x) == 2 }",
        "wanted = {\"GET\"}\nallow { wanted[input.method] }",
        "f(x) = y { y := x }\nallow { f(input.method) == \"GET\" }",
        "allow { input.method == \"GET\" } { input.method == \"HEAD\" }",
        "# if only\nnote = \"allow if { x }\"\nallow { input.method == \"GET\" }",
    ] {
        assert_eq!(version(body), Dialect::V0, "{body}");
    }
    for body in [
        "default allow := false\nallow if {\n  input.method == \"GET\"\n}",
        "import rego.v1\nallow if input.method == \"GET\"",
        "allow if every x in input.path { x == \"a\" }",
        "allow if every x in {\"a\", \"b\"} { x != \"c\" }",
        "wanted := {\"GET\"} | {\"HEAD\"}\nallow if input.method in wanted",
        "names contains x if some x in {\"GET\"}\nallow if names[input.method]",
        "allow if { input.method == \"GET\" } else := false if { input.method == \"PUT\" }",
        "f(x) := {\"m\": x}\nallow if f(input.method) == {\"m\": \"GET\"}",
        "allow if not input.method in {\"PUT\"}",
        "allow if input.method in {\"GET\"}\nlast := [x | some x in input.path]",
    ] {
        assert_eq!(version(body), Dialect::V1, "{body}");
        assert!(load(body).unwrap().decide(&request("GET"), UnixTime::default()).effect.is_allow(), "{body}");
    }
    // Each file has a version of its own.
    let file = |name: &str, body: &str| Source { name: name.into(), text: format!("package workload.authz\n{body}\n") };
    let old = file("b.rego", "allow { input.method == \"GET\" }");
    let both = PolicySet::load(vec![file("a.rego", "allow if input.method == \"HEAD\""), old]).unwrap();
    assert_eq!(both.dialects().map(|(_, version)| version).collect::<Vec<_>>(), [Dialect::V1, Dialect::V0]);
    assert!(both.decide(&request("HEAD"), UnixTime::default()).effect.is_allow());
    assert!(!both.decide(&request("POST"), UnixTime::default()).effect.is_allow());
}

/// Each of these crashed the process: 16 kB of policy is a tree that no stack holds.
#[test]
fn law_l9_a_deep_policy_is_refused_early() {
    let chain = |link: &str, count: usize| link.repeat(count);
    for body in [
        format!("allow if input.now{} > 0", chain("\n + 1", 4_000)),
        format!("allow if input.now{} > 0", chain(" +\n 1", 4_000)),
        format!("allow if count({{1}}{}) > 0", chain("\n | {1}", 15_000)),
        format!("allow if input.now{} > 0", chain("\n -1", 4_000)),
        format!("allow if {}1{} == 1", chain("(", 300), chain(")", 300)),
        format!("allow if {}1{} == 1", chain("[", 300), chain("]", 300)),
        format!("allow if {}1{} == 1", chain("{", 300), chain("}", 300)),
        format!("allow if input.method{}", chain("\n == true", 4_000)),
        format!("allow if 1{} == 1", chain("\n in [1]", 4_000)),
        format!("allow if {}1{}", chain("count(\n", 3_000), chain(")", 3_000)),
        format!("allow {{ input.now{} > 0 }}", chain("\n + 1", 4_000)),
    ] {
        let error = load(&body).map(|_| ()).unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.contains("recursion depth") && shown.contains("names of their own"),
            "{}: {shown}",
            body.get(..60).unwrap_or(&body)
        );
    }
}

/// Long is not deep.
#[test]
fn a_long_policy_loads() {
    let fields: String = (0..2_000).map(|n| format!(" \"k{n}\": {n} + 1,\n")).collect();
    let rules: String =
        (0..2_000).map(|n| format!("allow if {{\n  input.method == \"m{n}\"\n  input.now > {n} + 1\n}}\n")).collect();
    let others: String = "allow if { input.method == \"x\" } else := false if { input.method == \"y\" }".to_owned()
        + &" else := false if { input.method == \"y\" }".repeat(15);
    load(&format!("table := {{\n{fields}}}\n{rules}\n{others}")).unwrap();
}

#[test]
fn lines_beginning_with_not_are_statements() {
    let lines: String = (0..2_000).map(|n| format!("\n  not input.method == \"m{n}\"")).collect();
    for body in [format!("allow if {{{lines}\n}}"), format!("allow {{{lines}\n}}")] {
        assert!(load(&body).unwrap().decide(&request("GET"), UnixTime::default()).effect.is_allow());
    }
    // No way around the bound.
    for link in ["\n not + 1", "\n + not", " + not\n", "\nnot\n+ 1"] {
        let _refused = load(&format!("allow if 1{} > 0", link.repeat(4_000))).map(|_| ()).unwrap_err();
    }
}

/// A loaded policy is evaluated on the decider's stack: the deepest policy that loads fits a small one.
#[test]
fn law_l9_the_deepest_policy_fits_a_small_stack() {
    let deep = |links: usize| format!("allow if input.now{} > 0", "\n + 1".repeat(links));
    let links = (1..MAX_HEIGHT).rev().map(usize::from).find(|links| load(&deep(*links)).is_ok()).unwrap();
    let nested = |links: usize| format!("allow if count({}1{}) == 1", "[".repeat(links), "]".repeat(links));
    let brackets = (1..MAX_HEIGHT).rev().map(usize::from).find(|links| load(&nested(*links)).is_ok()).unwrap();
    assert!(links > 50 && brackets > 50, "{links} {brackets}");
    let nested = nested(brackets);
    for set in [load(&deep(links)).unwrap(), load(&nested).unwrap()] {
        let decide = move || set.decide_by_engine(&request("GET"), UnixTime::from_seconds(1)).effect;
        let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(decide).unwrap();
        assert!(thread.join().unwrap().is_allow());
    }
}
