//! What listeners hear of small policies.

use std::cell::Cell;

use super::{Cover, Detail, Explanation, Order, Profiler, Several};
use crate::builtins::Context;
use crate::value::Value;
use crate::{Compiler, Limits, Policy, Tracer};

const POLICY: &str = r#"package a

default allow := false

allow if {
	input.user == "bob"
	some role in input.roles
	role == "admin"
	trace(sprintf("role %s", [role]))
}

names contains n if {
	n := input.roles[_]
	not startswith(n, "x")
}

unused if input.other == 1
"#;

fn policy() -> Policy {
    Compiler::new().module("a.rego", POLICY).unwrap().compile().unwrap()
}

fn input() -> Value {
    Value::from_json(r#"{"user": "bob", "roles": ["x1", "dev", "admin", "dev"]}"#).unwrap()
}

fn explained(detail: Detail, query: &str) -> Vec<String> {
    let (policy, mut explanation) = (policy(), Explanation::new(detail));
    let question = policy.ask(query, Default::default(), &[], &[]).unwrap();
    let mut context = Context::new(0);
    let data = Value::empty_object();
    let answers = question.eval(&data, Some(&input()), &mut context, &Limits::default(), Some(&mut explanation));
    assert_eq!(answers.unwrap().len(), 1);
    assert_eq!(explanation.omitted(), 0);
    let lines = explanation.lines(policy.modules(), query);
    lines.iter().map(|line| format!("{} {}", line.place(), line.describe(&str::to_owned))).collect()
}

#[test]
fn an_explanation_shows_each_event() {
    let expected = "query:1 Enter data.a.allow
query:1 | Eval data.a.allow
query:1 | Index data.a.allow (matched 1 rule, early exit)
a.rego:5 | Enter data.a.allow
a.rego:6 | | Eval input.user == \"bob\"
a.rego:7 | | Eval some role in input.roles
a.rego:8 | | Eval role == \"admin\"
a.rego:8 | | Fail role == \"admin\"
a.rego:7 | | Redo some role in input.roles
a.rego:8 | | Eval role == \"admin\"
a.rego:8 | | Fail role == \"admin\"
a.rego:7 | | Redo some role in input.roles
a.rego:8 | | Eval role == \"admin\"
a.rego:9 | | Eval sprintf(\"role %s\", [role])
a.rego:9 | | Eval trace(sprintf(\"role %s\", [role]))
a.rego:9 | | Note \"role admin\"
a.rego:5 | | Exit data.a.allow
query:1 | Exit data.a.allow";
    assert_eq!(explained(Detail::Full, "data.a.allow").join("\n"), expected);
}

#[test]
fn notes_come_with_the_bodies_around_them() {
    let expected = ["query:1 Enter data.a.allow", "a.rego:5 | Enter data.a.allow", "a.rego:9 | | Note \"role admin\""];
    assert_eq!(explained(Detail::Notes, "data.a.allow"), expected);
}

#[test]
fn fails_come_with_values() {
    let found = explained(Detail::Fails, "data.a.allow");
    assert!(found.contains(&"a.rego:8 | | Fail role == \"admin\"  # \"dev\", \"admin\"".to_owned()), "{found:#?}");
    assert!(found.iter().all(|line| line.contains("Fail") || line.contains("Enter")), "{found:#?}");
}

#[test]
fn a_debug_explanation_shows_what_is_unified() {
    let found = explained(Detail::Debug, "data.a.names");
    assert!(found.iter().any(|line| line.contains("| Unify n := input.roles[_]")), "{found:#?}");
    let duplicate = "a.rego:12 | | Duplicate data.a.names  # \"dev\"".to_owned();
    assert!(found.contains(&duplicate), "{found:#?}");
}

#[test]
fn a_profile_counts_evaluations_by_place() {
    let time = Cell::new(0);
    let clock = || {
        time.set(time.get() + 10);
        time.get()
    };
    let (policy, mut profiler) = (policy(), Profiler::new(&clock));
    let question = policy.ask("data.a.allow", Default::default(), &[], &[]).unwrap();
    let data = Value::empty_object();
    let found =
        question.eval(&data, Some(&input()), &mut Context::new(0), &Limits::default(), Some(&mut profiler)).unwrap();
    assert_eq!(found.len(), 1);
    let rows = profiler.report(policy.modules(), "data.a.allow", &[Order::Redos]);
    let shown: Vec<_> = rows.iter().map(|row| (row.file.as_str(), row.row, row.evals, row.redos)).collect();
    assert_eq!(shown.first(), Some(&("a.rego", 7, 2, 2)), "{rows:#?}");
    assert!(shown.contains(&("a.rego", 8, 3, 0)), "{rows:#?}");
    assert!(shown.contains(&("a.rego", 6, 2, 0)), "{rows:#?}");
    // The clock moves by 10 at each event that is counted, and at the report.
    let events: u64 = rows.iter().map(|row| row.evals + row.redos).sum();
    assert_eq!(rows.iter().map(|row| row.nanos).sum::<u64>(), events * 10);
}

#[test]
fn coverage_names_what_was_not_evaluated() {
    let (policy, mut cover) = (policy(), Cover::new());
    let allow = policy.document(&["a", "allow"]).unwrap();
    let (data, limits) = (Value::empty_object(), Limits::default());
    let mut several = Several::new();
    several.add(&mut cover);
    allow.trace(&data, Some(&input()), &mut Context::new(0), &limits, &mut several).unwrap();
    let report = cover.report(policy.modules());
    let file = report.files.get("a.rego").unwrap();
    let rows: Vec<u32> = file.not_covered.iter().map(|range| range.start.0).collect();
    assert_eq!(rows, [3, 12, 13, 14, 17, 17]);
    assert_eq!((file.covered_lines, file.not_covered_lines), (5, 5));
    assert!((report.percent() - 50.0).abs() < f64::EPSILON);
}

#[test]
fn a_listener_does_not_change_the_answer() {
    let policy = policy();
    let mut explanation = Explanation::new(Detail::Debug);
    for query in ["data.a", "data.a.names[x]", "x := data.a.allow; x", "1; false", "false", "input.nothing"] {
        let question = policy.ask(query, Default::default(), &[], &[]).unwrap();
        let ask = |tracer: Option<&mut dyn Tracer>| {
            let (data, limits) = (Value::empty_object(), Limits::default());
            question.eval(&data, Some(&input()), &mut Context::new(0), &limits, tracer).unwrap()
        };
        assert_eq!(ask(None), ask(Some(&mut explanation)), "{query}");
    }
}

#[test]
fn an_expression_alone_may_be_false() {
    let policy = policy();
    let values = |query: &str| {
        let question = policy.ask(query, Default::default(), &[], &[]).unwrap();
        let (data, limits) = (Value::empty_object(), Limits::default());
        let answers = question.eval(&data, Some(&input()), &mut Context::new(0), &limits, None).unwrap();
        let row = |answer: &crate::Answer| {
            let values: Vec<String> = answer.expressions.iter().map(|found| found.value.to_string()).collect();
            let bound: Vec<String> = answer.bindings.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {}", values.join(","), bound.join(","))
        };
        answers.iter().map(row).collect::<Vec<_>>().join(" / ")
    };
    for (query, expected) in [
        ("false", "false "),
        ("1 == 2", "false "),
        ("x := 1; x == 2", ""),
        ("x := 1; x > 0", "true,true x=1"),
        ("not false", "true "),
        ("some x in [1, 2]; x", "true,1 x=1 / true,2 x=2"),
        ("walk([1], [p, v])", "true p=[],v=[1] / true p=[0],v=1"),
        ("data.a.none", ""),
        ("count(data.a.names)", "2 "),
    ] {
        assert_eq!(values(query), expected, "{query}");
    }
}
