//! Sessions: what is entered, and what is answered.

use sekisho_rego::value::Value;

use super::session::{Reply, Session};

fn session() -> Session {
    let data = Value::from_json(r#"{"users": {"ada": 3}}"#).unwrap();
    Session::new(Vec::new(), data, None, Box::new(|| 0)).unwrap()
}

/// What the lines are answered with; `!` before what is wrong.
fn answered(lines: &str) -> Vec<String> {
    let mut session = session();
    let mut out = Vec::new();
    for line in lines.lines() {
        out.push(match session.line(line) {
            Reply::Text(text) => text,
            Reply::Wrong(text) => format!("! {text}"),
            Reply::More => "…".to_owned(),
            Reply::Exit => "exit".to_owned(),
        });
    }
    out
}

#[test]
fn rules_and_queries_are_distinguished() {
    let lines = "x := 1\np if x > 0\np\nx\nq contains y if some y in [1, 2]\nq\nx == 2\n\
                 some i in [3, 4]\nnone.such\nf(a) := a + 1\nf(4)";
    let expected = [
        "x added to package repl",
        "p added to package repl",
        "true",
        "1",
        "q added to package repl",
        "[\n  1,\n  2\n]",
        "false",
        " i\n 3\n 4",
        "! query:1:1: rego_unsafe_var_error: var none is unsafe\n\tnone.such\n\t^^^^",
        "f added to package repl",
        "5",
    ];
    let found = answered(lines);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found == expected || found.starts_with("! query:1") && expected.starts_with("! query:1"), "{found:?}");
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn a_statement_goes_on_until_its_brackets_close() {
    let found = answered("p if {\n  1 == 1\n}\np\nr := [\n\n1");
    assert_eq!(found.get(..4).unwrap(), ["…", "…", "p added to package repl", "true"]);
    // An empty line gives a statement up.
    assert!(found.get(5).unwrap().starts_with("! "), "{found:?}");
    assert_eq!(found.last().unwrap(), "1");
}

#[test]
fn an_assignment_replaces_and_unset_deletes() {
    let found = answered("x := 1\nx := 2\nx\nshow\nunset x\nunset x\nx");
    assert_eq!(found.get(1).unwrap(), "x replaced in package repl");
    assert_eq!(found.get(2).unwrap(), "2");
    assert_eq!(found.get(3).unwrap(), "package repl\n\nx := 2");
    assert_eq!(found.get(4).unwrap(), "");
    assert!(found.get(5).unwrap().starts_with("! no rule and no import is named `x`"), "{found:?}");
    assert!(found.last().unwrap().starts_with("! "), "{found:?}");
}

#[test]
fn what_does_not_compile_changes_nothing() {
    let found = answered("p if q\nq := 1\np if r\np\nshow");
    assert!(found.first().unwrap().starts_with("! "), "{found:?}");
    assert!(found.get(2).unwrap().starts_with("! "), "{found:?}");
    assert_eq!(found.last().unwrap(), "package repl\n\nq := 1");
}

#[test]
fn input_data_and_imports_are_seen() {
    let found =
        answered("input := {\"user\": \"ada\"}\nimport data.users\nusers[input.user]\nunset input\ninput.user\ndump");
    assert_eq!(found.get(2).unwrap(), "3");
    assert_eq!(found.get(4).unwrap(), "undefined");
    assert_eq!(found.get(5).unwrap(), "{\n  \"users\": {\n    \"ada\": 3\n  }\n}");
}

#[test]
fn traces_profiles_and_forms_are_switched() {
    let found = answered("trace fails\nfalse; 1\ntrace off\njson\n1 + 1\npretty\nprofile\n1 + 1\ntrace loud\nexit");
    assert!(found.get(1).unwrap().contains("| Fail false"), "{found:?}");
    assert!(found.get(4).unwrap().contains("\"value\": 2"), "{found:?}");
    assert!(found.get(7).unwrap().starts_with("2\n"), "{found:?}");
    assert!(found.get(7).unwrap().contains("EVALS"), "{found:?}");
    assert_eq!(found.get(8).unwrap(), "! a trace is full, notes, fails, debug or off");
    assert_eq!(found.last().unwrap(), "exit");
}

#[test]
fn names_are_completed() {
    let mut session = session();
    session.line("allowed := true");
    let names = session.names();
    assert_eq!(names.after("x := allo", 9), (5, vec!["allowed".to_owned()]));
    assert_eq!(names.after("data.repl.a", 11), (0, vec!["data.repl.allowed".to_owned()]));
    assert!(names.after("time.no", 7).1.contains(&"time.now_ns".to_owned()));
    assert_eq!(names.after("x := ", 5).1, Vec::<String>::new());
}
