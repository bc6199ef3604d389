use crate::{PolicySet, Source};

/// What loading says of a body beside a helper library; "loaded" where it says nothing.
fn refusal(body: &str) -> String {
    refusal_of_rules(&format!("allow if {{\n\tinput.method == \"GET\"\n\t{body}\n}}"))
}

fn refusal_of_rules(rules: &str) -> String {
    let own = format!("package workload.authz\nimport data.lib\n{rules}\nallow if lib.ok(1)\n");
    let lib = "package lib\nok(x) if x > 0\nteams[name] := {\"lead\"} if some name in [\"a\"]\nlimits.high := 3\nlimits.low := 1\n";
    let source = |name: &str, text: &str| Source { name: name.into(), text: text.into() };
    let loaded = PolicySet::load(vec![source("a.rego", &own), source("lib.rego", lib)]);
    loaded.map_or_else(|error| error.to_string(), |_| "loaded".to_owned())
}

#[test]
fn a_wrong_number_of_arguments_is_refused() {
    for (body, reason) in [
        ("startswith(input.path[0])", "a.rego:5: startswith: arity mismatch: 2 arguments expected, 1 given"),
        ("not startswith(input.path[0], \"v\", \"x\")", "startswith: invalid argument(s)"),
        ("count() == 1", "count: arity mismatch: 1 arguments expected, 0 given"),
        ("time.now_ns(1) > 1", "time.now_ns: arity mismatch: 0 arguments expected, 1 given"),
        ("sprintf(\"%d\", 1, 2) == \"\"", "sprintf: arity mismatch: 2 arguments expected, 3 given"),
        ("not lib.ok(1, 2)", "a.rego:5: data.lib.ok: invalid argument(s)"),
        ("x := [y | y := data.lib.ok()]", "function data.lib.ok has arity 1, got 0 arguments"),
    ] {
        assert!(refusal(body).contains(reason), "{body}: {}", refusal(body));
    }
    for body in ["count(input.path, n)\n\tn > 1", "print(1, 2, 3)", "lib.ok(2)", "time.now_ns() > 1"] {
        assert_eq!(refusal(body), "loaded", "{body}");
    }
}

/// `not` of a rule that does not exist always holds.
#[test]
fn law_l3_a_rule_that_does_not_exist_is_refused() {
    for (body, reason) in [
        ("not data.x.no_such_rule", "a.rego:5: `data.x.no_such_rule` is not a rule or a package of this set"),
        (
            "not data.lib.team.a",
            "`data.lib.team.a` is not a rule or a package of this set, so it is never defined; did you mean `data.lib.teams`",
        ),
        ("not lib.team", "`data.lib.team` is not a rule"),
        ("not lib.limits.medium", "`data.lib.limits.medium` is not a rule"),
        ("not data.workload.authz.denied", "`data.workload.authz.denied` is not a rule"),
        ("data.users[input.method]", "`data.users` is not a rule"),
        ("not data[\"libs\"]", "did you mean `data.lib`"),
        ("not no_such_rule", "no_such_rule"),
    ] {
        assert!(refusal(body).contains(reason), "{body}: {}", refusal(body));
    }
    let imported = refusal_of_rules("import data.users\nallow if input.method == \"GET\"");
    assert!(imported.contains("a.rego:3: `data.users` is not a rule"), "{imported}");
    for body in [
        "data.lib.teams.a.lead",
        "lib.teams[input.method]",
        "lib.limits.high > 1",
        "data.lib.limits[\"low\"] == 1",
        "some name; data.lib.teams[name]",
        "count(data.lib) > 0",
        "data.lib[input.method]",
    ] {
        assert_eq!(refusal(body), "loaded", "{body}");
    }
}

/// A sidecar gives headers by their names in lower case.
#[test]
fn upper_case_headers_are_refused_with_a_hint() {
    for body in [
        "not input.headers[\"X-Blocked\"]",
        "input.headers.Authorization == \"x\"",
        "h := input.headers; h[\"X-A\"] == \"b\"",
        "object.get(input.headers, \"X-A\", \"\") == \"b\"",
    ] {
        let refusal = refusal(body);
        assert!(refusal.contains("header names are in lower case"), "{body}: {refusal}");
    }
    assert!(refusal("not input.headers[\"X-Blocked\"]").contains("write `input.headers[\"x-blocked\"]`"));
    assert_eq!(refusal("object.get(input.headers, \"x-a\", \"\") == \"b\""), "loaded");
}

#[test]
fn law_l3_a_constant_of_another_kind_is_refused() {
    for (body, reason) in [
        (
            "input.path == 7",
            "a.rego:5: `input.path` is a list, and `7` is not: this has the same result for every request",
        ),
        ("input.path != \"/admin\"", "`input.path` is a list, and `\"/admin\"` is not"),
        ("input.path == [\"v1\", 7]", "`input.path[1]` is a text, and `7` is not"),
        ("input.path[0] == \"v1/x\"", "`input.path[0]` is one segment of a path, so it holds no `/`"),
        ("not input.path == [\"/v1\"]", "`input.path[0]` is one segment of a path"),
        ("input.method == \"get\"", "did you mean `\"GET\"`, not `\"get\"`"),
        ("not input.method in {\"Delete\"}", "did you mean `\"DELETE\"`"),
        ("input.method == true", "`input.method` is a text, and `true` is not"),
        ("null != input.query", "`input.query` is a text, and `null` is not"),
        ("input.subject.spiffe_id == \"gateway\"", "`gateway` is not a SPIFFE ID"),
        ("input.subject.issued_at > \"2026-01-01\"", "`input.subject.issued_at` is a whole number of nanoseconds"),
        (
            "input.subject.claims.groups == {\"a\"}",
            "`input.subject.claims.groups` is a text, a whole number, a boolean or a list of texts, and a set is not",
        ),
        ("7 in input.subject.claims.groups", "`input.subject.claims.groups[_]` is a text, and `7` is not"),
        ("input.headers[\"x-a\"] = 1", "`input.headers[\"x-a\"]` is a text, and `1` is not"),
        ("7 in input.path", "`input.path[_]` is a text, and `7` is not"),
        ("\"G\" in input.method", "`input.method` is a text, so nothing is `in` it"),
        ("m := input.method; not m == 7", "`m` is a text, and `7` is not"),
        ("wanted := [\"get\"]; input.method in wanted", "did you mean `\"GET\"`"),
        ("startswith(input.path, \"/v1\")", "`startswith` takes texts, and `input.path` is a list"),
        ("not contains(input.headers, \"x\")", "`contains` takes texts, and `input.headers` is an object"),
    ] {
        assert!(refusal(body).contains(reason), "{body}: {}", refusal(body));
    }
    for body in [
        "input.method == \"PURGE\"",
        "input.method in {\"GET\", \"x\"}",
        "input.subject.spiffe_id > \"spiffe://td/\"",
        "input.subject.claims.level == 7",
        "input.subject.claims.level == \"x\"",
        "input.path == [\"v1\", input.method]",
        "\"v1\" in input.path",
        "\"tpm\" in input.subject.claims.hw_attested_by",
        "input.subject.claims.hw_attested_by == [\"tpm\"]",
        "\"eu\" in input.headers",
        "startswith(input.subject.claims.team, \"x\")",
        "input.path == split(\"a/b\", \"/\")",
    ] {
        assert_eq!(refusal(body), "loaded", "{body}");
    }
}

#[test]
fn an_impossible_test_input_is_refused() {
    for (test, reason) in [
        ("{\"metod\": \"GET\"}", "`input` has no member `metod`; did you mean `method`"),
        ("{\"path\": \"/admin\"}", "`input.path` is a list, and `\"/admin\"` is not"),
        ("{\"subject\": {\"claims\": {\"a\": [1]}}}", "`input.subject.claims.a[0]` is a text, and `1` is not"),
        ("{\"headers\": {\"X-A\": \"b\"}}", "header names are in lower case"),
        ("[1]", "`input` is an object, and a list is not"),
        ("named", "`input.subject.spiffe_id`: `x` is not a SPIFFE ID"),
    ] {
        let rules =
            format!("named := {{\"subject\": {{\"spiffe_id\": \"x\"}}}}\ntest_a if not allow with input as {test}");
        let refusal = refusal_of_rules(&rules);
        assert!(refusal.contains(reason) && refusal.starts_with("a.rego:4"), "{test}: {refusal}");
    }
    let part = refusal_of_rules("test_a if not allow with input.method as 7");
    assert!(part.contains("`input.method` is a text, and `7` is not"), "{part}");
    assert_eq!(
        refusal_of_rules("test_a if not allow with input as {\"method\": \"GET\", \"path\": [\"a\"]}"),
        "loaded"
    );
}
