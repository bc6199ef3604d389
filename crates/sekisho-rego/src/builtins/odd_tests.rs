//! Every function with every combination of odd values: no panic, within the budget.

use super::context::Context;
use super::signature::signatures;
use super::table::lookup;
use crate::value::{Number, Set, Value};

const WORK: u64 = 300_000;

fn odd_values() -> Vec<Value> {
    let json = |text: &str| Value::from_json(text).expect(text);
    let deep = (0..400).fold(Value::Null, |inner, _| Value::from(vec![inner]));
    let big = Value::from(Number::parse("-170141183460469231731687303715884105728000").expect("number"));
    let mut values = vec![Value::Null, Value::from(true), big, deep];
    for number in ["0", "-1", "2", "1.5", "-0", "9223372036854775807", "1e300", "1e-300", "1000000000000000000"] {
        values.push(Value::from(Number::parse(number).expect(number)));
    }
    for text in [
        "",
        "a",
        "é\u{0}[{%",
        "10.0.0.0/8",
        "::/0",
        "{{range .}}{{.}}{{end}}",
        "(a*)*b{2}\\",
        "%[1]*d%+08.3q%",
        "UTC",
        "1d2h",
        "$1-0.0.0",
    ] {
        values.push(Value::from(text));
    }
    for text in [
        r#"[]"#,
        r#"[1,"a",[0]]"#,
        r#"["/a/0","a"]"#,
        r#"{}"#,
        r#"{"a":["a",{"b":1}],"op":"add","path":"/a"}"#,
        r#"[9e18,"America/New_York","2006"]"#,
    ] {
        values.push(json(text));
    }
    values.push(Value::from(Set::default()));
    values.push(Value::from(Set::from_vec(vec![Value::from("a"), json(r#"["a"]"#), Value::from(Set::default())])));
    values
}

/// Calls a function with all rows of `count` values.
fn call_all(name: &str, count: usize, values: &[Value]) -> usize {
    let builtin = lookup(name).unwrap_or_else(|| panic!("{name} has no code"));
    let mut rows = vec![Vec::new()];
    for _ in 0..count {
        let longer =
            |row: &Vec<Value>| values.iter().map(|v| [row.clone(), vec![v.clone()]].concat()).collect::<Vec<_>>();
        rows = rows.iter().flat_map(longer).collect();
    }
    let mut cx = Context::new(1_700_000_000_000_000_000);
    for row in &rows {
        cx.set_work(WORK);
        if let Ok(Some(value)) = builtin.call(&mut cx, row) {
            assert!(cx.work_left() < WORK, "{name} is free");
            let _unused = value.type_name();
        }
    }
    rows.len()
}

#[test]
fn odd_arguments_do_no_harm() {
    let values = odd_values();
    let few: Vec<Value> = values.iter().step_by(3).cloned().collect();
    let mut calls = 0;
    for signature in signatures().iter().filter(|signature| !is_absent(&signature.name)) {
        let count = signature.arity();
        calls += call_all(&signature.name, count, if count > 2 { &few } else { &values });
    }
    assert!(calls > 50_000, "{calls}");
}

/// GraphQL has code only with its feature.
fn is_absent(name: &str) -> bool {
    !cfg!(feature = "graphql") && name.starts_with("graphql.")
}
