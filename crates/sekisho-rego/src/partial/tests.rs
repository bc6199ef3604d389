//! What residuals are, one case for each form.

use super::{Column, Constraint, Options, Order, Outlook, Residual, Root, Unknown};
use crate::value::Value;
use crate::{Compiler, EvalCode, Limits, Policy};

fn policy(text: &str) -> Policy {
    Compiler::new().module("test.rego", &format!("package test\n\n{text}")).unwrap().compile().unwrap()
}

fn json(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

const DATA: &str = r#"{"admins": ["alice", "bob"], "ports": {"web": 443, "db": 5432}}"#;

fn lenient() -> Options {
    Options { limits: Limits { strict: false, ..Limits::default() }, ..Options::default() }
}

fn residual(policy: &Policy, query: &str, options: &Options) -> Residual {
    let residual = policy.query(query).unwrap().partial(&json(DATA), Some(&json(r#"{"known": 1}"#)), options).unwrap();
    residual.resume(policy).unwrap_or_else(|error| panic!("{error}"));
    residual
}

/// The queries, then the support rules without their package.
fn shown(rules: &str, query: &str, options: &Options) -> String {
    let residual = residual(&policy(rules), query, options);
    let queries = residual.queries().into_iter().map(|text| text.replace('\n', "; "));
    let modules = residual.modules().into_iter().map(|(_, text)| text.replace(['\n', '\t'], " ").trim().to_owned());
    queries.chain(modules).collect::<Vec<_>>().join("\n")
}

fn allow(rules: &str) -> String {
    shown(rules, "data.test.allow == true", &lenient())
}

#[test]
fn known_conditions_go_and_unknown_ones_stay() {
    assert_eq!(allow("allow if { data.ports.web == 443; input.port == 443 }"), "input.port = 443");
    assert_eq!(allow("allow if { data.ports.web == 80; input.port == 443 }"), "");
    assert_eq!(allow("allow if data.ports.web == 443\n\nallow if input.port == 1"), "true");
}

/// Else `data.partial.test.p` would be `{"k": {}}` where it was `{}`.
#[test]
fn computed_keys_of_heads_stay_computed() {
    let rules = "p[lower(\"K\")].b := 1 if input.on";
    let found = shown(rules, "x := data.test.p", &lenient());
    assert!(found.contains(" = \"k\"") && !found.contains("p.k"), "{found}");
    let policy = policy(rules);
    let residual = residual(&policy, "x := data.test.p", &lenient());
    let input = json("{}");
    let found = residual.resume(&policy).unwrap().eval(&json(DATA), Some(&input), 0, &Limits::default()).unwrap();
    assert_eq!(found.first().and_then(|row| row.first()).map(|x| x.value.clone()), Some(json("{}")), "{found:?}");
}

fn strict_residual(rules: &str) -> Residual {
    let limits = Limits { strict: true, exhaustive: true, ..Limits::default() };
    residual(&policy(rules), "data.test.allow == true", &Options { limits, ..Options::default() })
}

/// With strict errors, a rule that cannot hold and could fail before that stays in the residual.
#[test]
fn a_residual_shows_whether_it_can_hold() {
    let outlook = |rules: &str| strict_residual(&format!("default allow := false\n\n{rules}")).outlook().unwrap();
    for (rules, expected) in [
        ("allow if input.port == 443", Outlook::Depends),
        ("allow if to_number(input.port) == 443", Outlook::Depends),
        ("allow if open(input.port)\n\nopen(port) if to_number(port) == 443", Outlook::Depends),
        ("allow if not closed\n\nclosed if to_number(input.port) == 443", Outlook::Depends),
        ("allow if data.ports.web == 443", Outlook::Always),
        ("allow if data.ports.web == 80", Outlook::Never),
        ("allow if { to_number(input.port) == 1; data.ports.web == 80 }", Outlook::Never),
        ("allow if open\n\nopen if { to_number(input.port) == 1; data.ports.web == 80 }", Outlook::Never),
        (
            "allow if { not closed; input.port == 1 }\n\nclosed if data.ports.web == 443\n\n\
             closed if to_number(input.port) == 1",
            Outlook::Never,
        ),
        ("allow if { some name in data.admins; startswith(name, \"x\"); to_number(input.port) == 1 }", Outlook::Never),
        (
            "allow if { some name in data.admins; startswith(name, \"b\"); to_number(input.port) == 1 }",
            Outlook::Depends,
        ),
        ("allow if is(data.ports.web, 80)\n\nis(a, b) if { to_number(input.port) == 1; a == b }", Outlook::Never),
        ("allow if is(data.ports.web, 443)\n\nis(a, b) if { to_number(input.port) == 1; a == b }", Outlook::Depends),
    ] {
        assert_eq!(outlook(rules), expected, "{rules}");
    }
    let two = "default allow := false\n\nallow if { to_number(input.port) == 1; to_number(data.ports.web) == 80 }\n\n\
               allow if { to_number(input.port) == 2; to_number(data.ports.web) == 80 }";
    let never = strict_residual(two);
    assert!(!never.is_never(), "what can fail stays");
    assert_eq!(never.outlook(), Ok(Outlook::Never), "{:?}", never.modules());
}

#[test]
fn what_fails_or_mixes_is_undecided() {
    let undecided = |rules: &str| strict_residual(rules).outlook().unwrap_err();
    let fails = undecided("allow if to_number(data.admins[0]) == 1");
    assert_eq!((&*fails.expression, fails.reason), ("1 = to_number(\"alice\")", "it fails, whatever is asked"));
    let mixed = undecided("allow if limits[input.name] == 1\n\nlimits[\"a\"] := to_number(input.port)");
    assert!(!mixed.reason.is_empty());
    undecided("allow if open with input.port as 1\n\nopen if { input.port == 1; input.name == \"a\" }");
}

#[test]
fn known_members_are_tried_one_by_one() {
    assert_eq!(allow("allow if input.user == data.admins[_]"), "input.user = \"alice\"\ninput.user = \"bob\"");
    assert_eq!(
        allow("allow if data.ports[input.name] == input.port"),
        "input.name = \"db\"; input.port = 5432\ninput.name = \"web\"; input.port = 443"
    );
}

#[test]
fn rules_and_functions_are_put_in_place() {
    let rules = "allow if { owns(input.user); role == \"admin\" }\n\nrole := input.role\n\n\
                 owns(\"alice\") := true\n\nowns(u) if u == input.owner";
    let expected = "input.user = \"alice\"; input.role = \"admin\"\ninput.user = input.owner; input.role = \"admin\"";
    assert_eq!(allow(rules), expected);
    let rules = "allow if \"x\" in names\n\nnames contains n if some n in input.names\n\nnames contains input.name";
    assert_eq!(
        allow(rules),
        "\"x\" = input.names[_]\ninput.name = \"x\"".replace("\"x\" = input.names[_]", "input.names[_] = \"x\"")
    );
}

#[test]
fn defaults_that_fail_the_query_are_left_out() {
    assert_eq!(allow("default allow := false\n\nallow if input.a"), "input.a");
    let whole = shown("default allow := false\n\nallow if input.a", "data.test.allow = x", &lenient());
    assert_eq!(
        whole,
        "x = data.partial.test.allow\npackage partial.test  allow if {  input.a }  default allow := false"
    );
}

#[test]
fn negations_of_one_condition_stay_in_place() {
    assert_eq!(allow("allow if not input.a == 1"), "not input.a = 1");
    assert_eq!(
        allow("allow if not blocked\n\nblocked if { input.a; input.b }"),
        "not data.partial.__body1__\npackage partial  __body1__ if {  input.a  input.b }"
    );
    assert_eq!(allow("allow if { input.c; not blocked }\n\nblocked if data.ports.web == 443"), "");
}

#[test]
fn rules_that_can_conflict_stay_rules() {
    assert_eq!(
        allow("allow := true if input.a\n\nallow := false if input.b"),
        "data.partial.test.allow = true\n\
         package partial.test  allow if {  input.a }  allow := false if {  input.b }"
    );
}

#[test]
fn else_keeps_its_order() {
    assert_eq!(
        allow(
            "allow if input.a else := false if { input.b; data.ports.web == 443 } else := true if data.ports.web == 1"
        ),
        "data.partial.test.allow = true\n\
         package partial.test  allow if {  input.a } else := false if {  input.b }"
    );
}

#[test]
fn closures_keep_what_they_see() {
    assert_eq!(
        allow("allow if { limit := data.ports.web; count([p | some p in input.ports; p > limit]) > 2 }"),
        "v1 = [v2 | v2 = input.ports[_]; v2 > 443]; v3 = count(v1); v3 > 2"
    );
    assert_eq!(
        allow("allow if every t in input.tags { t != \"secret\" }"),
        "every v1 in input.tags {\n\tv1 != \"secret\"\n}".replace('\n', "; ")
    );
    assert_eq!(
        allow("allow if every a in data.admins { a in input.users }"),
        "\"alice\" in input.users; \"bob\" in input.users"
    );
}

#[test]
fn modifiers_stay_with_what_they_modify() {
    let rules = "allow if helper with input.a as input.b\n\nhelper if input.a == 1";
    let text = allow(rules);
    assert_eq!(text, "input.b = _; data.test.helper with input.a as input.b");
    assert_eq!(allow("allow if helper with input as {\"a\": 1}\n\nhelper if input.a == 1"), "true");
}

#[test]
fn errors_stay_behind_what_comes_before_them() {
    let rules = "deny if { 1 / input.n > 0; banned }\n\nbanned if input.user == \"eve\"\n\nallow if not deny";
    let policy = policy(rules);
    let residual = residual(&policy, "data.test.allow == true", &Options::default());
    let resumed = residual.resume(&policy).unwrap();
    let eval = |input: &str| resumed.eval(&json(DATA), Some(&json(input)), 0, &Limits::default());
    assert_eq!(eval(r#"{"n": 0, "user": "bob"}"#).unwrap_err().code, EvalCode::Builtin);
    assert_eq!(eval(r#"{"n": 1, "user": "bob"}"#).unwrap().len(), 1);
    assert_eq!(eval(r#"{"n": 1, "user": "eve"}"#).unwrap().len(), 0);
}

#[test]
fn law_l3_known_errors_stay_errors() {
    let text = shown("allow if { input.a; 1 / 0 == 1 }", "data.test.allow == true", &Options::default());
    assert_eq!(text, "input.a; v1 = 1 / 0; v1 = 1".replace("v1 = 1 / 0; v1 = 1", "1 = 1 / 0"));
}

#[test]
fn time_is_unknown_unless_given() {
    let rules = "allow if time.now_ns() > 5";
    assert_eq!(allow(rules), "v1 = time.now_ns(); v1 > 5");
    assert_eq!(shown(rules, "data.test.allow == true", &Options { now: Some(6), ..lenient() }), "true");
}

#[test]
fn inlining_can_be_disabled() {
    let rules = "allow if role == \"admin\"\n\nrole := input.role";
    let support = "package partial.test  role := input.role if {  input.role = _ }";
    let one = Options { not_inlined: vec![vec!["test".into(), "role".into()]], ..lenient() };
    assert_eq!(shown(rules, "data.test.allow == true", &one), format!("data.partial.test.role = \"admin\"\n{support}"));
    let text = shown(rules, "data.test.allow == true", &Options { shallow: true, ..lenient() });
    assert!(text.starts_with("data.partial.test.allow = true\n"), "{text}");
}

#[test]
fn parts_that_are_not_unknown_are_known() {
    let options = Options { unknowns: vec![Unknown::parse("input.request").unwrap()], ..lenient() };
    let rules = "allow if { input.known == 1; input.request.path == \"/\" }\n\nallow if input.missing";
    assert_eq!(shown(rules, "data.test.allow == true", &options), "input.request.path = \"/\"");
}

#[test]
fn sizes_of_residuals_are_bounded() {
    let policy = policy("n := numbers.range(1, 200)\n\nallow if { n[_] == input.a; n[_] == input.b; n[_] == input.c }");
    let query = policy.query("data.test.allow == true").unwrap();
    let found = query.partial(&json(DATA), None, &Options { most_bodies: 1_000, ..lenient() });
    assert_eq!(found.unwrap_err().code, EvalCode::Limit);
}

#[test]
fn deep_chains_of_rules_end_in_bounds() {
    let rules: String = (0..1_000).map(|at| format!("r{at} if not r{}\n\n", at + 1)).collect();
    let policy = policy(&format!("allow if not r0\n\n{rules}r1000 if input.a"));
    let query = policy.query("data.test.allow == true").unwrap();
    let found = query.partial(&json(DATA), None, &lenient());
    assert!(found.is_ok() || found.is_err_and(|error| error.code == EvalCode::Limit));
}

#[test]
fn names_of_rules_are_not_taken_by_variables() {
    let text = allow("v1 := input.a\n\nallow if { some x in input.xs; x > 1; not v1 == x }");
    assert!(text.contains("v_1 = input.xs[_]"), "{text}");
}

#[test]
fn tables_are_rows_of_constraints() {
    let rules = "allow if { input.source == data.admins[_]; ports[input.port]; not banned }\n\n\
                 ports contains 443\n\nports contains p if { p := 80; input.plain == true }\n\n\
                 banned if { net.cidr_contains(\"10.0.0.0/8\", input.address); input.level < 3 }";
    let table = residual(&policy(rules), "data.test.allow == true", &lenient()).table().unwrap();
    let column = |name: &str| Column { root: Root::Input, path: vec![name.into()] };
    let row: Vec<_> = vec![
        (column("source"), Constraint::Equal("alice".into())),
        (column("port"), Constraint::Equal(Value::from(443_i64))),
        (column("address"), Constraint::Not(Box::new(Constraint::Within("10.0.0.0/8".into())))),
    ];
    assert!(table.contains(&row), "{table:?}");
    assert_eq!(table.len(), 8);
    let level = Constraint::Not(Box::new(Constraint::Compare(Order::Less, Value::from(3_i64))));
    assert_eq!(table.iter().filter(|row| row.contains(&(column("level"), level.clone()))).count(), 4);
}

#[test]
fn tables_name_what_prevents_them() {
    let prevented =
        |rules: &str| residual(&policy(rules), "data.test.allow == true", &lenient()).table().unwrap_err().to_string();
    assert_eq!(
        prevented("allow if input.a == input.b"),
        "`input.a = input.b` is not a constraint of a table: it compares two parts that are unknown"
    );
    assert!(prevented("allow if input.tags[_] == \"x\"").contains("input.tags[_]"));
    assert!(prevented("allow if regex.match(\"^a\", input.a)").contains("regex.match"));
}

#[test]
fn opa_gets_its_own_tree() {
    let policy = policy("allow if input.a == 1");
    let residual = residual(&policy, "data.test.allow == true", &lenient());
    let term = |kind: &str, value: &str| format!(r#"{{"type":"{kind}","value":{value}}}"#);
    let of = |start: &str, rest: String| term("ref", &format!("[{}{rest}]", term("var", start)));
    let (eq, a) = (of(r#""eq""#, String::new()), of(r#""input""#, format!(",{}", term("string", r#""a""#))));
    let expr = format!(r#"{{"index":0,"terms":[{eq},{a},{}]}}"#, term("number", "1"));
    let expected = format!(r#"{{"queries":[[{expr}]]}}"#);
    assert_eq!(residual.to_opa(policy.modules()).unwrap(), json(&expected));
}
