//! What no policy should look like: refused with a place, or loaded, in time and memory that the text's length bounds.

use std::time::Duration;

use sekisho_rego::syntax::{MAX_TEXT, Options, parse_bytes};
use sekisho_rego::{CompileError, Compiler};

fn load(modules: &[&str]) -> Result<(), CompileError> {
    let compiler = modules
        .iter()
        .enumerate()
        .try_fold(Compiler::new(), |compiler, (at, text)| compiler.module(&format!("m{at}.rego"), text));
    compiler.and_then(Compiler::compile).map(drop)
}

fn refused(modules: &[&str]) -> String {
    load(modules).err().map(|error| error.to_string()).unwrap_or_default()
}

/// The processor's time of this thread: on a loaded machine it waits for one.
fn busy<R>(work: impl FnOnce() -> R) -> Duration {
    let now = || {
        let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        times.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
    };
    let began = now();
    let _result = work();
    Duration::from_nanos(now() - began)
}

#[test]
fn bytes_that_are_no_text_have_a_place() {
    let errors = parse_bytes("m.rego", b"package p\n\nq := \"\xff\"\n", Options::default()).unwrap_err();
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["m.rego:3:7: rego_parse_error: illegal utf-8 character"]);
}

#[test]
fn packages_that_need_each_other_are_refused() {
    let shown =
        refused(&["package a\n\nx := data.b.y\n", "package b\n\ny := data.c.z\n", "package c\n\nz := data.a.x\n"]);
    assert!(shown.contains("rego_recursion_error") && shown.contains("m0.rego:3:1"), "{shown}");
    let whole = refused(&["package a\n\nx := data.b\n", "package b\n\ny := data.a\n"]);
    assert!(whole.contains("rego_recursion_error"), "{whole}");
    load(&["package a\n\nimport data.b\n\nx := b.y\n", "package b\n\nimport data.a\n\ny := 1\n\nz := a.x\n"]).unwrap();
}

#[test]
fn data_and_input_keep_their_meaning() {
    for text in [
        "data := 1",
        "input := {\"admin\": true}",
        "data contains 1",
        "input.x := 1",
        "data(x) := x",
        "import data.b as data\n\nx := data",
        "import data.b as input\n\nx := input",
        "f(data) := data",
        "q if { input := 1; input == 1 }",
        "q if { some data in [1]; data == 1 }",
        "q := [data | some data in [1]]",
    ] {
        let shown = refused(&[&format!("package a\n\n{text}\n")]);
        assert!(shown.contains("rego_") && shown.contains("m0.rego:3:"), "{text}: {shown}");
    }
}

#[test]
fn a_text_beyond_the_bound_is_not_read() {
    let text = format!("package p\n{}", " ".repeat(MAX_TEXT));
    let took = busy(|| assert!(refused(&[&text]).contains("text too long")));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn ten_times_the_rules_take_about_ten_times() {
    let text = |count: usize| {
        let rules =
            (0..count).map(|n| format!("allow if {{\n\tinput.method == \"GET\"\n\tinput.path[1] == \"p{n}\"\n}}\n"));
        format!("package p\n\n{}", rules.collect::<Vec<_>>().join("\n"))
    };
    let (few, many) = (text(1_000), text(10_000));
    let few = busy(|| load(&[&few]).unwrap());
    let many = busy(|| load(&[&many]).unwrap());
    assert!(many < few * 40, "1,000 rules {few:?}, 10,000 rules {many:?}");
}

#[test]
fn a_declaration_does_not_modify_its_own_expression() {
    let shown = refused(&["package p\n\nq if {\n\tx := input.a with input as x\n\tx\n}\n"]);
    assert!(shown.contains("m0.rego:4:2: rego_compile_error: var x referenced above"), "{shown}");
}
