//! OPA's own test cases against the engine behind our builtins and limits, where `OPA_CASES` names their folder: JSON
//! files of `{"cases": [...]}` in OPA's form, in any depth.

use std::path::{Path, PathBuf};

use regorus::{Engine, Value};
use serde_json::Value as Json;

use crate::builtins;

/// The least share of cases that has to pass; see docs/policy.md for what fails and why.
const MIN_SHARE: f64 = 0.70;

#[test]
fn opa_s_own_cases_pass_as_documented() {
    let Some(folder) = std::env::var_os("OPA_CASES").map(PathBuf::from) else {
        // Past the harness, which shows nothing of a test that passes; `.ci/run` counts these lines.
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let line = format!("\nskipped: {test}: OPA_CASES names no folder with OPA's test cases\n");
        let _unread = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        return;
    };
    let (mut passed, mut all) = (0usize, 0usize);
    let mut failed = std::collections::BTreeMap::<String, usize>::new();
    for file in files(&folder) {
        let text = std::fs::read_to_string(&file).unwrap();
        let cases: Json = serde_json::from_str(&text).unwrap();
        for case in cases["cases"].as_array().unwrap() {
            all += 1;
            let holds = std::panic::catch_unwind(|| passes(case)).unwrap_or(false);
            if holds {
                passed += 1;
            } else {
                let group = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
                *failed.entry(group).or_default() += 1;
            }
        }
    }
    let mut groups: Vec<_> = failed.into_iter().collect();
    groups.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    println!("{passed} of {all} cases of OPA pass; most failures: {:?}", groups.iter().take(12).collect::<Vec<_>>());
    assert!(all > 0 && passed as f64 / all as f64 >= MIN_SHARE);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    let mut found: Vec<_> = items.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    found.sort();
    found
}

fn passes(case: &Json) -> bool {
    let wants_error = case.get("want_error_code").is_some() || case.get("want_error").is_some();
    match evaluate(case) {
        Err(_) => wants_error,
        Ok(rows) => !wants_error && case.get("want_result").is_none_or(|wanted| same(&rows, wanted, case)),
    }
}

fn evaluate(case: &Json) -> Result<Vec<Json>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(case["strict_error"].as_bool().unwrap_or(false));
    builtins::install(&mut engine)?;
    for (number, module) in case["modules"].as_array().into_iter().flatten().enumerate() {
        let module = module.as_str().unwrap_or_default().to_owned();
        engine.add_policy(format!("test-{number}.rego"), module).map_err(|e| text(&e))?;
    }
    builtins::bound(&mut engine)?;
    crate::work::begin();
    if let Some(data) = case.get("data").filter(|data| data.is_object()) {
        engine.add_data(Value::from_json_str(&data.to_string()).map_err(|e| text(&e))?).map_err(|e| text(&e))?;
    }
    if let Some(term) = case.get("input_term").and_then(Json::as_str) {
        let found = Engine::new().eval_query(term.to_owned(), false).map_err(|e| text(&e))?;
        let value = found.result.first().and_then(|row| row.expressions.first()).map(|e| e.value.clone());
        engine.set_input(value.ok_or("the input term has no value")?);
    } else if let Some(input) = case.get("input") {
        engine.set_input(Value::from_json_str(&input.to_string()).map_err(|e| text(&e))?);
    }
    let query = case["query"].as_str().unwrap_or_default().to_owned();
    let found = engine.eval_query(query, false).map_err(|e| text(&e))?;
    let row = |row: regorus::QueryResult| {
        let text = row.bindings.to_json_str().map_err(|e| e.to_string())?;
        serde_json::from_str::<Json>(&text).map_err(|e| e.to_string())
    };
    found.result.into_iter().map(row).collect()
}

/// Rows are a set; numbers are compared by value.
fn same(rows: &[Json], wanted: &Json, case: &Json) -> bool {
    let sort = case["sort_bindings"].as_bool().unwrap_or(false);
    let normal = |row: &Json| {
        let mut row = row.clone();
        for value in row.as_object_mut().into_iter().flat_map(|row| row.values_mut()) {
            if let Some(items) = value.as_array_mut().filter(|_| sort) {
                items.sort_by_key(ToString::to_string);
            }
        }
        numbers(&mut row);
        row.to_string()
    };
    let mut left: Vec<String> = rows.iter().map(normal).collect();
    let mut right: Vec<String> = wanted.as_array().into_iter().flatten().map(normal).collect();
    left.sort();
    left.dedup();
    right.sort();
    right.dedup();
    left == right
}

fn numbers(value: &mut Json) {
    match value {
        Json::Number(number) => {
            if let Some(float) = number.as_f64() {
                *value = serde_json::json!(float);
            }
        }
        Json::Array(items) => items.iter_mut().for_each(numbers),
        Json::Object(members) => members.values_mut().for_each(numbers),
        _ => {}
    }
}
