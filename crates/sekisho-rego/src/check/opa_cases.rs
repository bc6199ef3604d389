//! OPA's conformance cases: their modules are free of errors, and its cases of errors give these errors.

use std::path::Path;

use serde_yaml_ng::Value as Yaml;

use super::{Options, check, check_query};
use crate::syntax::ast::{Module, Source, Version};
use crate::syntax::error::Error;
use crate::syntax::opa_cases::{cases, files, folder, modules, skipped, version_of};
use crate::syntax::{self, parse_module, parse_query};

fn text<'a>(case: &'a Yaml, key: &str) -> &'a str {
    case.get(key).and_then(Yaml::as_str).unwrap_or_default()
}

fn parsed(case: &Yaml, version: Version) -> Vec<Module> {
    let options = syntax::Options { version, ..syntax::Options::default() };
    modules(case)
        .iter()
        .enumerate()
        .map(|(index, module)| parse_module(&format!("test-{index}.rego"), module, options).unwrap())
        .collect()
}

#[test]
fn no_module_of_opa_has_errors() {
    let Some(folder) = folder() else { return skipped("OPA's test cases are not in the module cache") };
    let (mut passed, mut failed) = (0, Vec::new());
    for file in files(&folder) {
        let version = version_of(&file);
        for case in cases(&file) {
            let note = text(&case, "note").to_owned();
            let modules = parsed(&case, version);
            let mut result = check(&modules, Options::default());
            if result.is_ok() {
                let options = syntax::Options { version, ..syntax::Options::default() };
                let query = text(&case, "query");
                let body = parse_query("query", query, options).unwrap();
                let source = Source { file: "query".into(), text: query.into() };
                result = check_query(&modules, &source, &body, &[], &[]);
            }
            match result {
                Ok(()) => passed += 1,
                // OPA's tests register this function; it is none of the language's.
                Err(errors) if errors[0].message.contains("test.sleep") => {}
                Err(errors) => failed.push(format!("{note} {}", errors[0].render())),
            }
        }
    }
    println!("{passed} passed, {} failed\n{}", failed.len(), failed.join("\n"));
    assert!(passed > 0 && failed.is_empty());
}

/// Whether an error is the one a case wants.
fn is_wanted(want: &Yaml, error: &Error) -> bool {
    let number = |key: &str| want.get(key).and_then(Yaml::as_u64);
    error.code.as_str() == text(want, "code")
        && [&error.full_message(), &error.message].into_iter().any(|message| message == text(want, "message"))
        && number("row") == Some(u64::from(error.span.line))
        && number("col").is_none_or(|column| column == u64::from(error.span.column))
}

fn fails_as_wanted(file: &Path, case: &Yaml) -> Result<(), String> {
    let version = if text(case, "rego_version") == "v0" { Version::V0 } else { Version::V1 };
    let version = if file.to_string_lossy().contains("/v0/") { Version::V0 } else { version };
    let strict = case.get("strict").and_then(Yaml::as_bool).unwrap_or(false);
    let errors = check(&parsed(case, version), Options { strict, ..Options::default() }).err().unwrap_or_default();
    let wanted = case.get("want_errors").and_then(Yaml::as_sequence).cloned().unwrap_or_default();
    let missing = wanted.iter().find(|want| !errors.iter().any(|error| is_wanted(want, error)));
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let exhaustive = case.get("exhaustive").and_then(Yaml::as_bool).unwrap_or(false);
    match missing {
        Some(want) => Err(format!("{}: missing {want:?} in {shown:?}", text(case, "note"))),
        None if exhaustive && errors.len() > wanted.len() => Err(format!("{}: too many {shown:?}", text(case, "note"))),
        None => Ok(()),
    }
}

#[test]
fn opa_s_errors_are_found() {
    let Some(folder) = folder() else { return skipped("OPA's test cases are not in the module cache") };
    let folder = folder.join("../../compilecases/testdata");
    if !folder.is_dir() {
        return skipped("OPA's cases of errors are not beside its other cases");
    }
    let (mut passed, mut failed) = (0, Vec::new());
    for file in files(&folder) {
        for case in cases(&file) {
            match fails_as_wanted(&file, &case) {
                Ok(()) => passed += 1,
                Err(message) => failed.push(message),
            }
        }
    }
    println!("{passed} passed, {} failed\n{}", failed.len(), failed.join("\n"));
    assert!(passed > 0 && failed.is_empty());
}

fn first_error(text: &str) -> String {
    let module = parse_module("m.rego", text, syntax::Options::default()).unwrap();
    check(&[module], Options::default()).err().map(|errors| errors[0].to_string()).unwrap_or_default()
}

#[test]
fn impossible_types_are_errors() {
    let cases = [
        ("f(x) := x + 1\nq := f(\"a\")", "m.rego:3:6: rego_type_error: data.a.f: invalid argument(s)"),
        ("p := count(1)", "m.rego:2:6: rego_type_error: count: invalid argument(s)"),
        ("p := \"a\"\nq if p == 1", "m.rego:3:6: rego_type_error: match error (hints: left: string, right: number)"),
        ("p := {\"a\": 1}\nq := p.b", "m.rego:3:6: rego_type_error: undefined ref: data.a.p.b"),
        ("q if \"a\" in [1, 2]", "m.rego:2:6: rego_type_error: match error"),
        ("q if { x := [[1], 2]; x[1].y }", "m.rego:2:23: rego_type_error: undefined ref: x[1].y"),
    ];
    for (rules, expected) in cases {
        let found = first_error(&format!("package a\n{rules}"));
        assert!(found.starts_with(expected), "{rules}: {found}");
    }
    assert_eq!(first_error("package a\np := input.x\nq if { p.y == 1; p.z == \"a\" }"), "");
}

fn checks_in_time(rules: &str) {
    let start = std::thread::spawn({
        let text = format!("package a\n{rules}");
        move || {
            let module = parse_module("m.rego", &text, syntax::Options::default()).unwrap();
            check(&[module], Options::default()).err().map(|errors| errors[0].to_string())
        }
    });
    assert_eq!(start.join().unwrap(), None);
}

#[test]
fn types_of_shared_values_are_small() {
    let body: String = (1..60).map(|n| format!("\tx{n} := [x{0}, x{0}, {{\"a\": x{0}}}]\n", n - 1)).collect();
    checks_in_time(&format!("p if {{\n\tx0 := input.x\n{body}\tx59 != 1\n}}"));
    let rules: String = (1..60).map(|n| format!("x{n} := {{\"a\": x{0}, \"b\": [x{0}]}}\n", n - 1)).collect();
    checks_in_time(&format!("x0 := input.x\n{rules}"));
}

#[test]
fn long_bodies_are_ordered_in_time() {
    let backward: String = (0..3000).map(|n| format!("\tx{n} = x{}\n", n + 1)).collect();
    checks_in_time(&format!("p if {{\n{backward}\tx3000 = 1\n}}"));
    let forward: String = (0..3000).map(|n| format!("\tx{} := [y | y := x{n}][0]\n\tnot x{n} == 7\n", n + 1)).collect();
    checks_in_time(&format!("p if {{\n\tx0 := 1\n{forward}\tx3000 > 1\n}}"));
}

#[test]
fn types_of_deep_values_are_small() {
    let nested = |n: usize| format!("{}x{n}{}", "[".repeat(50), "]".repeat(50));
    let body: String = (0..400).map(|n| format!("\tx{} := {}\n", n + 1, nested(n))).collect();
    checks_in_time(&format!("p if {{\n\tx0 := input.x\n{body}\tx400 == x399\n}}"));
}

/// Half of the stack that a thread has by default.
const SMALL_STACK: usize = 1 << 20;

#[test]
fn deepest_texts_need_little_stack() {
    let work = || {
        for (open, close) in [("[", "]"), ("(", ")"), ("{1: ", "}"), ("[1 | x = ", "]"), ("f(", ")"), ("-x[", "]")] {
            for depth in (20..=260).step_by(8) {
                let text = format!("package p\nq := {}1{}", open.repeat(depth), close.repeat(depth));
                let Ok(module) = parse_module("deep", &text, syntax::Options::default()) else { continue };
                let _errors = check(std::slice::from_ref(&module), Options::default());
                assert!(crate::syntax::format::format("deep", &text, syntax::Options::default()).is_ok());
            }
        }
    };
    std::thread::Builder::new().stack_size(SMALL_STACK).spawn(work).unwrap().join().unwrap();
}

#[test]
fn types_of_deep_rules_need_little_stack() {
    let (open, close) = ("[".repeat(100), "]".repeat(100));
    let rules: String = (0..200).map(|n| format!("r{n} := {open}r{}{close}\n\n", n + 1)).collect();
    checks_in_time(&format!("{rules}r200 := 1\n"));
}
