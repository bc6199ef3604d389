use crate::value::Value;
use crate::{Compiler, EvalCode, EvalError, Limits, Policy};

fn policy(text: &str) -> Policy {
    Compiler::new().module("test.rego", text).unwrap().compile().unwrap()
}

fn eval(policy: &Policy, name: &str, input: &str, limits: &Limits) -> Result<Option<Value>, EvalError> {
    let input = Value::from_json(input).unwrap();
    policy.document(&["test", name]).unwrap().eval(&Value::empty_object(), Some(&input), 0, limits)
}

fn json(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

/// A chain of rules, each of which reads the next one.
fn chain(length: usize, link: impl Fn(usize) -> String) -> Policy {
    let rules: String = (0..length).map(|at| format!("r{at} := {}\n", link(at + 1))).collect();
    policy(&format!("package test\n\n{rules}r{length} := 1\n"))
}

fn fails(result: Result<Option<Value>, EvalError>, code: EvalCode) {
    assert_eq!(result.map_err(|error| error.code), Err(code));
}

#[test]
fn steps_are_bounded() {
    let policy = policy("package test\n\nn := numbers.range(1, 300)\n\np := count([1 | n[_]; n[_]; n[_]])\n");
    fails(eval(&policy, "p", "{}", &Limits { steps: 100_000, ..Limits::default() }), EvalCode::Limit);
}

#[test]
fn nesting_of_rules_is_bounded() {
    let short = chain(80, |next| format!("[x | x := r{next}; not false]"));
    assert!(eval(&short, "r0", "{}", &Limits::default()).unwrap().is_some());
    let long = chain(1_000, |next| format!("[x | x := r{next}; not false]"));
    fails(eval(&long, "r0", "{}", &Limits::default()), EvalCode::Limit);
}

#[test]
fn size_of_values_is_bounded() {
    let doubling = chain(100, |next| format!("[r{next}, r{next}]"));
    fails(eval(&doubling, "r0", "{}", &Limits::default()), EvalCode::Limit);
}

#[test]
fn interrupt_ends_an_evaluation() {
    let policy = policy("package test\n\nn := numbers.range(1, 3000)\n\np := count([1 | n[_]; n[_]; n[_]])\n");
    let interrupt = Some(std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true)));
    fails(eval(&policy, "p", "{}", &Limits { interrupt, ..Limits::default() }), EvalCode::Cancel);
}

const ROLES: &str = "package test

default allow := false

allow if { input.role == \"a\"; input.level > 1 }
allow if { input.role == \"b\"; startswith(input.path, \"/x\") }
allow if input.role in {\"c\", \"d\"}
allow if { some tag in input.tags; tag == \"public\"; input.role == \"e\" }
allow if { input.role == \"f\"; input.level == 7 }

level(\"a\") := 1
level(\"b\") := 2
level(\"c\") := 3
level(\"d\") := 4

p := [level(role) | some role in input.roles]
";

#[test]
fn index_gives_what_all_rules_give() {
    let policy = policy(ROLES);
    let document = policy.document(&["test", "allow"]).unwrap();
    let data = Value::empty_object();
    let mut holds = 0;
    for role in ["\"a\"", "\"b\"", "\"c\"", "\"d\"", "\"e\"", "\"f\"", "\"g\"", "1", "[]"] {
        for rest in ["\"level\":7", "\"path\":\"/x\"", "\"tags\":[\"public\"]", "\"level\":1"] {
            let input = json(&format!("{{\"role\":{role},{rest}}}"));
            let indexed = document.eval(&data, Some(&input), 0, &Limits::default()).unwrap();
            let mut context = crate::builtins::Context::new(0);
            let (all, trace) = document.explain(&data, Some(&input), &mut context, &Limits::default());
            assert_eq!(indexed, all.unwrap(), "{input}");
            assert!(trace.considered.iter().all(|rule| rule.document == "data.test.allow"));
            holds += usize::from(indexed == Some(Value::Bool(true)));
        }
    }
    assert_eq!(holds, 12);
}

#[test]
fn functions_are_indexed_by_arguments() {
    let found = eval(&policy(ROLES), "p", r#"{"roles":["d","a","x","b"]}"#, &Limits::default()).unwrap();
    assert_eq!(found, Some(json("[4,1,2]")));
}

#[test]
fn trace_names_the_condition_that_failed() {
    let policy = policy("package test\n\nallow if {\n\tinput.a == 1\n\tinput.b == 2\n\tinput.c == 3\n}\n");
    let document = policy.document(&["test", "allow"]).unwrap();
    let mut context = crate::builtins::Context::new(0);
    let input = json(r#"{"a":1,"b":5,"c":3}"#);
    let (found, trace) = document.explain(&Value::Null, Some(&input), &mut context, &Limits::default());
    assert_eq!(found, Ok(None));
    let failed: Vec<_> = trace.considered.iter().filter_map(|rule| rule.failed.as_ref()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].span.line, failed[0].values.clone()), (5, vec![json("5"), json("2")]));
}

#[test]
fn strict_errors_end_the_evaluation() {
    let policy = policy("package test\n\ndeny if { 1 / input.n > 0 }\n\ndeny if input.x\n");
    fails(eval(&policy, "deny", r#"{"n":0,"x":true}"#, &Limits::default()), EvalCode::Builtin);
    let lenient = Limits { strict: false, ..Limits::default() };
    assert_eq!(eval(&policy, "deny", r#"{"n":0,"x":true}"#, &lenient), Ok(Some(Value::Bool(true))));
}

#[test]
fn conflicting_values_are_errors() {
    let policy = policy(
        "package test\n\np := 1 if input.a\n\np := 2 if input.b\n\n\
         q[k] := v if { some k in [\"k\"]; some v in input.v }\n",
    );
    fails(eval(&policy, "p", r#"{"a":true,"b":true}"#, &Limits::default()), EvalCode::Conflict);
    assert_eq!(eval(&policy, "p", r#"{"b":true}"#, &Limits::default()), Ok(Some(json("2"))));
    fails(eval(&policy, "q", r#"{"v":[1,2]}"#, &Limits::default()), EvalCode::Conflict);
    assert_eq!(eval(&policy, "q", r#"{"v":[1,1.0]}"#, &Limits::default()), Ok(Some(json(r#"{"k":1}"#))));
}

#[test]
fn queries_give_their_variables() {
    let policy = policy("package test\n\np contains x if some x in [1, 2]\n");
    let query = policy.query("data.test.p[x]; y := x + 1").unwrap();
    let rows = query.eval(&Value::empty_object(), None, 0, &Limits::default()).unwrap();
    let text: Vec<String> =
        rows.iter().flatten().map(|found| format!("{}={} {}", found.name, found.value, found.declared)).collect();
    assert_eq!(text, ["x=1 false", "y=2 true", "x=2 false", "y=3 true"]);
}

#[test]
fn printed_lines_are_kept_where_wanted() {
    let text = "package test\n\np if {\n\tx := 1\n\tprint(\"x:\", x, input.missing)\n}\n";
    let printed = |prints: bool| {
        let policy = Compiler::new().prints(prints).module("test.rego", text).unwrap().compile().unwrap();
        let document = policy.document(&["test", "p"]).unwrap();
        let mut context = crate::builtins::Context::new(0);
        let found = document.eval_in(&Value::Null, None, &mut context, &Limits::default(), None);
        assert_eq!(found, Ok(Some(Value::Bool(true))));
        context.printed
    };
    assert_eq!(printed(true), ["x: 1 <undefined>"]);
    assert!(printed(false).is_empty());
}

#[test]
fn many_rules_of_many_paths_compile() {
    let rules: String = (0..5_000).map(|at| format!("allow if input.a{at} == {at}\n")).collect();
    let policy = policy(&format!("package test\n\n{rules}"));
    assert_eq!(eval(&policy, "allow", r#"{"a4999":4999}"#, &Limits::default()), Ok(Some(Value::Bool(true))));
}

#[test]
fn index_finds_base_data_as_steps_do() {
    let rules = ["a", "b", "c", "d"].map(|name| format!("deny if {{ data.d[2] == \"{name}\" }}\n")).concat();
    let policy = policy(&format!("package test\n\n{rules}"));
    let document = policy.document(&["test", "deny"]).unwrap();
    for data in [r#"{"d":{"2":"a"}}"#, r#"{"d":["x","y","a"]}"#] {
        assert_eq!(document.eval(&json(data), None, 0, &Limits::default()), Ok(Some(Value::Bool(true))), "{data}");
    }
}

#[test]
fn results_without_mocks_are_not_those_under_mocks() {
    let text = "package test\n\ng(_) := h\n\nf(_) := \"orig\"\n\nh := time.now_ns()\n\n\
                p := x if x := [f(1), h] with f as g with time.now_ns as 5\n";
    assert_eq!(eval(&policy(text), "p", "{}", &Limits::default()), Ok(Some(json("[0,5]"))));
}

#[test]
fn long_bodies_are_ordered_in_time() {
    let links: String = (0..3_000).map(|at| format!("\tx{at} = x{}\n", at + 1)).collect();
    let policy = policy(&format!("package test\n\np if {{\n{links}\tx3000 = 1\n}}\n"));
    assert_eq!(eval(&policy, "p", "{}", &Limits::default()), Ok(Some(Value::Bool(true))));
}

#[test]
fn membership_costs_steps() {
    let policy = policy("package test\n\nn := numbers.range(1, 3000)\n\np := count([1 | some i in n; (0 - i) in n])\n");
    fails(eval(&policy, "p", "{}", &Limits { steps: 500_000, ..Limits::default() }), EvalCode::Limit);
}

#[test]
fn depth_of_values_is_bounded() {
    let mut text = String::from("package test\n\nf(x) := x\n\np if {\n\tx0 := input.x\n");
    for at in 0..400 {
        text.push_str(&format!("\tx{} := {}x{at}{}\n", at + 1, "[".repeat(100), "]".repeat(100)));
    }
    text.push_str("\tf(x400) == x400\n}\n");
    fails(eval(&policy(&text), "p", r#"{"x":1}"#, &Limits::default()), EvalCode::Limit);
}

#[test]
fn long_references_end_in_bounds() {
    let refused = |text: String| Compiler::new().module("test.rego", &text).is_err();
    assert!(refused(format!("package a{}\n\np := 1\n", ".a".repeat(5_000))));
    assert!(refused(format!("package test\n\no{} := 1 if y := 1\n", "[y]".repeat(5_000))));
    let deep = format!("package a{}\n\nq := 1\n", ".a".repeat(250));
    let text = format!("package test\n\nallow if {{\n\tdata[_]{}\n}}\n", "[_]".repeat(5_000));
    let compiled = Compiler::new().module("a.rego", &deep).unwrap().module("test.rego", &text).unwrap().compile();
    if let Ok(policy) = compiled {
        assert_ne!(eval(&policy, "allow", "{}", &Limits::default()), Ok(Some(Value::Bool(true))));
    }
}

#[test]
fn hostile_numbers_cost_what_they_take() {
    let policy = policy("package test\n\nallow if 5 in input.a\n");
    let input = format!("{{\"a\":[{}]}}", vec!["1e30000"; 20_000].join(","));
    assert_eq!(eval(&policy, "allow", &input, &Limits::default()), Ok(None));
}

#[test]
fn paths_are_found_in_order() {
    let policy = policy(
        "package test\n\nall := [[p, v] | walk(input, [p, v])]\n\nvalues := [v | walk(input, [_, v])]\n\n\
         whole := [x | walk(input, x)]\n\nnone := [1 | walk(input.absent, [_, _])]\n\n\
         sets := {p | walk({{1}}, [p, 1])}\n\nfirst if { some p; walk(input, [p, 2]); p == [\"b\", 1] }\n",
    );
    let input = r#"{"a": {}, "b": [1, 2]}"#;
    for (name, expected) in [
        ("all", r#"[[[],{"a":{},"b":[1,2]}],[["a"],{}],[["b"],[1,2]],[["b",0],1],[["b",1],2]]"#),
        ("values", r#"[{"a":{},"b":[1,2]},{},[1,2],1,2]"#),
        ("whole", r#"[[[],{"a":{},"b":[1,2]}],[["a"],{}],[["b"],[1,2]],[["b",0],1],[["b",1],2]]"#),
        ("none", "[]"),
        ("sets", "[[[1],1]]"),
        ("first", "true"),
    ] {
        let found = eval(&policy, name, input, &Limits::default()).unwrap().unwrap();
        assert_eq!(found.to_json(), expected, "{name}");
    }
}

/// Whether each rule of these is true.
fn hold(rules: &str, names: &[&str], input: &str) {
    let policy = policy(&format!("package test\n\nimport rego.v1\n\n{rules}"));
    for name in names {
        assert_eq!(eval(&policy, name, input, &Limits::default()), Ok(Some(Value::from(true))), "{name}");
    }
}

#[test]
fn a_comprehension_s_head_binds_wildcards() {
    let rules = "set if {input.xs[_] | true} == {1, 3}\n\nlist if [input.xs[_] | input.on] == [3, 1, 3]\n\n\
                 object if {k: input.o[k] | some k in [\"p\"]} == {\"p\": 1}\n";
    hold(rules, &["set", "list", "object"], r#"{"xs": [3, 1, 3], "o": {"p": 1, "q": 2}, "on": true}"#);
}

#[test]
fn with_takes_each_value_of_a_reference() {
    let rules = "x := input.x\n\neach if {v | v := x with input as input.all[_]} == {1, 2}\n\n\
                 data_too if {v | v := x with input as data.given[_]} == set()\n";
    hold(rules, &["each", "data_too"], r#"{"all": [{"x": 1}, {"x": 2}]}"#);
}

/// Also where the reference is a part of the value: as in OPA, each way to read it is one to go on with.
#[test]
fn modifiers_take_each_value_of_a_reference() {
    let policy = policy(
        "package test\n\n\
         p := [y | y := input.x with input.x as {\"k\": input.ss[_]}]\n\n\
         q := [y | y := input.x with input.x as {input.ss[_]: 1}]\n\n\
         r := [y | y := input.x with input.x as [input.ss[_], input.ss[i]]; i > 0]\n\n\
         s := [y | y := input.x with input.x as {input.ss[_], data.none[_]}]\n",
    );
    for (name, wanted) in [
        ("p", r#"[{"k": "a"}, {"k": "b"}]"#),
        ("q", r#"[{"a": 1}, {"b": 1}]"#),
        ("r", r#"[["a", "b"], ["b", "b"]]"#),
        ("s", "[]"),
    ] {
        let found = eval(&policy, name, r#"{"ss": ["a", "b"]}"#, &Limits::default());
        assert_eq!(found, Ok(Some(json(wanted))), "{name}");
    }
}
