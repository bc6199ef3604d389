//! The verbs of `sekisho policy` that need no server.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::servers::command;

const POLICY: &str = "# METADATA\n# title: Who may read\npackage workload.authz\n\nimport rego.v1\n\n\
                      default allow := false\n\nallow if {\n\tinput.method == \"GET\"\n\t\
                      input.headers.authorization == \"Bearer right-one\"\n}\n\nlimits := data.limits[input.method]\n";

/// A folder with a policy, its test, data and an input with a secret.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("policy/p.rego", &POLICY.replace("\n\nlimits := data.limits[input.method]\n", "\n"));
    write("general/p.rego", &POLICY.replace("workload.authz", "app"));
    write("policy/p_test.yaml", "cases:\n  - name: a post\n    input: {method: POST}\n    allow: false\n");
    write("data/limits/data.json", "{\"GET\": 10}");
    write(
        "request.json",
        "{\"method\": \"GET\", \"path\": [], \"subject\": {\"spiffe_id\": \"spiffe://td/a\"}, \
         \"destination\": \"spiffe://td/b\", \"headers\": {\"authorization\": \"Bearer sesame-1234\"}}",
    );
    folder
}

fn run(folder: &Path, line: &str) -> Output {
    command(folder, &format!("sekisho policy {line}")).output().unwrap()
}

/// What a command prints, and its exit code.
fn printed(folder: &Path, line: &str) -> (String, i32) {
    let output = run(folder, line);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (text, output.status.code().unwrap())
}

fn as_json(folder: &Path, line: &str) -> Value {
    let output = run(folder, &format!("{line} -o json"));
    assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_query_is_evaluated_as_far_as_known() {
    let folder = prepared();
    let query = "eval general data.app.allow==true --partial";
    let found = printed(folder.path(), &format!("{query} --unknowns input.headers --input request.json"));
    assert_eq!(found, ("# Query 1\ninput.headers.authorization = \"Bearer right-one\"\n".to_owned(), 0));
    let (text, code) = printed(folder.path(), &format!("{query} --disable-inlining data.app.allow"));
    assert!(code == 0 && text.starts_with("# Query 1\ndata.partial.app.allow = true"), "{text}");
    assert!(text.contains("# Module 1\npackage partial.app\n"), "{text}");
    let found = as_json(folder.path(), &format!("{query} --input request.json --unknowns input.headers"));
    let operator = &found["partial"]["queries"][0][0]["terms"][0]["value"][0];
    assert_eq!((operator, found["partial"]["support"].is_null()), (&json!({"type": "var", "value": "eq"}), true));
    std::fs::write(folder.path().join("put.json"), "{\"method\": \"PUT\"}").unwrap();
    let never = format!("{query} --unknowns input.headers --input put.json");
    assert_eq!(as_json(folder.path(), &never), json!({"partial": {}}));
    assert_eq!(printed(folder.path(), &format!("{never} --fail")).1, 2);
    let (text, code) = printed(folder.path(), &format!("{query} --unknowns request"));
    assert!(code != 0 && text.contains("`request` is not a part of input or data"), "{text}");
}

#[test]
fn a_layout_is_listed_shown_and_written() {
    let folder = prepared();
    let folder = folder.path();
    assert_eq!(printed(folder, "fmt policy --list --fail"), (String::new(), 0));
    let file = folder.join("policy/p.rego");
    let rough = std::fs::read_to_string(&file).unwrap().replace("\tinput", "  input");
    std::fs::write(&file, &rough).unwrap();
    assert_eq!(printed(folder, "fmt policy --list --fail"), ("policy/p.rego\n".to_owned(), 2));
    let (text, code) = printed(folder, "fmt policy --diff");
    assert!(code == 0 && text.contains("-  input.method == \"GET\"\n"), "{text}");
    assert!(text.contains("+\tinput.method == \"GET\"\n"), "{text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), rough);
    assert_eq!(printed(folder, "fmt policy --write").1, 0);
    assert_eq!(printed(folder, "fmt policy --list --fail"), (String::new(), 0));
    assert!(
        !std::fs::read_dir(folder.join("policy"))
            .unwrap()
            .any(|item| { item.unwrap().file_name().to_string_lossy().starts_with('.') })
    );
    std::fs::write(&file, "package a\n\np[x] { x := 1 }\n").unwrap();
    let (text, _) = printed(folder, "fmt policy/p.rego --v0-v1");
    assert_eq!(text, "package a\n\nimport rego.v1\n\np contains x if x := 1\n");
}

#[test]
fn a_query_has_the_form_of_opa() {
    let folder = prepared();
    let found = as_json(folder.path(), "eval general data.app.limits --input request.json --data data");
    let expression = json!({"value": 10, "text": "data.app.limits", "location": {"row": 1, "col": 1}});
    assert_eq!(found, json!({"result": [{"expressions": [expression]}]}));
    assert_eq!(as_json(folder.path(), "eval general data.app.none"), json!({}));
    let (text, code) = printed(folder.path(), "eval general data.app.none --fail");
    assert_eq!((text.as_str(), code), ("undefined\n", 2));
    let found = as_json(folder.path(), "eval general data.app.allow -i request.json --profile --coverage --metrics");
    let members: Vec<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["coverage", "metrics", "profile", "result"]);
    assert!(found["profile"][0]["num_eval"].as_u64().unwrap() > 0, "{found}");
    assert!(found["coverage"]["files"]["general/p.rego"]["covered_lines"].as_u64().unwrap() > 0, "{found}");
    assert!(found["metrics"]["timer_rego_query_eval_ns"].as_u64().unwrap() > 0, "{found}");
}

#[test]
fn an_explanation_hides_what_a_record_hides() {
    let folder = prepared();
    for mode in ["full", "fails", "notes", "debug"] {
        for form in ["table", "json"] {
            let line = format!("eval policy --input request.json --explain {mode} -o {form}");
            let (text, code) = printed(folder.path(), &line);
            assert_eq!(code, 2, "{text}");
            assert!(!text.contains("sesame") && !text.contains("1234"), "{line}: {text}");
        }
    }
    let (text, _) = printed(folder.path(), "eval policy --input request.json --explain fails");
    assert!(text.contains("Fail input.headers.authorization == \"Bearer right-one\"  # \"***\""), "{text}");
}

#[test]
fn tests_report_what_they_cover() {
    let folder = prepared();
    let found = as_json(folder.path(), "test policy --coverage");
    assert_eq!(found["tests"][0]["passed"], json!(true));
    let file = &found["coverage"]["files"]["p.rego"];
    // The first condition fails, so that the second is not reached.
    assert!(file["covered"].to_string().contains("{\"col\":2,\"row\":10}"), "{file}");
    assert!(file["not_covered"].to_string().contains("{\"col\":2,\"row\":11}"), "{file}");
    assert_eq!(printed(folder.path(), "test policy --threshold 1").1, 0);
    let (text, code) = printed(folder.path(), "test policy --threshold 99");
    assert!(code == 2 && text.contains("% of the lines are covered, fewer than 99 %"), "{text}");
}

#[test]
fn dependencies_have_the_form_of_opa() {
    let folder = prepared();
    let found = as_json(folder.path(), "deps general data.app.limits");
    let reference = |first: &str, rest: &[&str]| {
        let rest = rest.iter().map(|name| json!({"type": "string", "value": name}));
        std::iter::once(json!({"type": "var", "value": first})).chain(rest).collect::<Value>()
    };
    let base = json!([reference("data", &["limits"]), reference("input", &["method"])]);
    assert_eq!(found, json!({"base": base, "virtual": [reference("data", &["app", "limits"])]}));
}

#[test]
fn an_inspection_lists_what_there_is() {
    let folder = prepared();
    let found = as_json(folder.path(), "inspect general --annotations");
    assert_eq!(found["namespaces"], json!({"data.app": ["general/p.rego"]}));
    assert_eq!(found["rules"][0]["path"], json!("data.app.allow"));
    assert_eq!(found["rules"][0]["rules"], json!(2));
    assert_eq!(found["annotations"][0]["annotations"]["title"], json!("Who may read"));
    assert!(found["builtins"].as_array().unwrap().contains(&json!("equal")), "{found}");
}

#[test]
fn a_broken_annotation_is_named() {
    let folder = prepared();
    std::fs::write(folder.path().join("broken.rego"), "package a\n\n# METADATA\n# scope: package\np := 1\n").unwrap();
    let (text, code) = printed(folder.path(), "inspect broken.rego --annotations");
    assert_eq!(code, 1);
    assert!(text.contains("broken.rego:3:1: rego_parse_error: annotation scope 'package' must be applied to package"));
    assert_eq!(printed(folder.path(), "inspect broken.rego").1, 0);
}

#[test]
fn a_schema_is_checked() {
    let folder = prepared();
    std::fs::write(folder.path().join("schema.json"), "{\"properties\": {\"method\": {\"type\": \"integer\"}}}")
        .unwrap();
    let (text, code) = printed(folder.path(), "check policy --schema schema.json");
    assert!(code == 1 && text.contains("match error"), "{text}");
    std::fs::write(folder.path().join("schema.json"), "{}").unwrap();
    assert_eq!(printed(folder.path(), "check policy --schema schema.json").1, 0);
}

#[test]
fn a_measurement_counts_and_orders_its_samples() {
    let folder = prepared();
    let found = as_json(folder.path(), "bench policy --input request.json --count 2");
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for run in runs {
        let of = |name: &str| run[name].as_u64().unwrap();
        assert!(of("samples") > 10 && of("min") <= of("p50") && of("p50") <= of("p99"), "{run}");
        assert!(of("p99") <= of("max"), "{run}");
    }
}

#[test]
fn a_session_reads_a_pipe_and_writes_nothing() {
    let folder = prepared();
    let mut session = command(folder.path(), "sekisho policy repl general --data data");
    let mut child = session.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = "p if {\n1 == 1\n}\np\ndata.limits.GET\nq if none\nexit\n";
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "p added to package repl\ntrue\n10\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("var none is unsafe"));
    assert_eq!(output.status.code(), Some(1));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
}
