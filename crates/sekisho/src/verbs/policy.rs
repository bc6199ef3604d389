use std::path::{Path, PathBuf};

use clap::Subcommand;
use hyper::Method;
use sekisho_api::{AppliedForm, ApplyRequest, PolicyFileForm, PolicyForm};
use sekisho_policy::{RequestInput, Source, TestFile, run_tests};
use sekisho_runtime::{now, parse_time};
use sekisho_types::UnixTime;
use serde::Serialize;
use serde_json::json;

use super::policy_files::{load, read};
use super::why::{ShownRule, decision_text};
use crate::exit::{Exit, Failure};
use crate::global::{Global, ServerSocket};
use crate::output::{Column, mark, print, table};
use crate::reach;
use crate::rest::Rest;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Load the `.rego` files of a folder and report what is wrong with them
    #[command(after_help = "Example:\n  sekisho policy check ./policy")]
    Check {
        /// Folder with the `.rego` files
        folder: PathBuf,
    },
    /// Run `test_*` rules (`*_test.rego`) and case tables (`*_test.yaml`) of a folder
    #[command(after_help = "Example:\n  sekisho policy test ./policy")]
    Test {
        /// Folder with the policy and its tests
        folder: PathBuf,
    },
    /// Decide one JSON input by the policy of a folder; exit code 2 means denied
    #[command(after_help = "Example:\n  sekisho policy eval ./policy --input request.json")]
    Eval {
        /// Folder with the `.rego` files
        folder: PathBuf,
        /// File with the input; `-` is stdin
        #[arg(long, env = "SEKISHO_POLICY_INPUT", default_value = "-")]
        input: PathBuf,
        /// The time of the decision, as `2027-01-31T12:00:00Z`; default: now
        #[arg(long, env = "SEKISHO_POLICY_NOW", value_parser = parse_time)]
        now: Option<UnixTime>,
    },
    /// Decide recorded requests again by the policy of a folder; exit code 2 means that some decisions differ
    #[command(after_help = "Example:\n  sekisho policy replay ./policy --last 1000")]
    Replay(super::replay::ReplayArgs),
    /// Make the `.rego` files of a folder the next revision, if the folder's own tests pass
    #[command(after_help = "Example:\n  sekisho policy apply ./policy")]
    Apply {
        /// Folder with the `.rego` files and their tests
        folder: PathBuf,
        #[command(flatten)]
        asks: ServerSocket,
    },
    /// Show the revision in force
    #[command(alias = "get", after_help = "Example:\n  sekisho policy show")]
    Show(ServerSocket),
}

pub(crate) async fn run(mut global: Global, verb: PolicyVerb) -> Result<Exit, Failure> {
    match verb {
        PolicyVerb::Check { folder } => {
            let set = load(&folder, false)?;
            let digest = set.digest().to_string();
            let row = |(source, version): (&Source, sekisho_policy::Dialect)| CheckedFile {
                name: source.name.clone(),
                rego: version.as_str(),
            };
            let files: Vec<CheckedFile> = set.dialects().map(row).collect();
            print(global.output, &json!({"files": files, "digest": digest}), || {
                let line = |file: &CheckedFile| format!("{}: Rego {}\n", file.name, file.rego);
                format!("{}ok: {} files, {digest}", files.iter().map(line).collect::<String>(), files.len())
            })?;
            Ok(Exit::Ok)
        }
        PolicyVerb::Test { folder } => test(&global, &folder),
        PolicyVerb::Eval { folder, input, now } => eval(&global, &folder, &input, now),
        PolicyVerb::Replay(args) => super::replay::run(global, args).await,
        PolicyVerb::Apply { folder, asks } => {
            global.server_socket = asks.server_socket;
            // With their tests, which the server runs before it takes them.
            let files = read(&folder, true)?.into_iter().map(|Source { name, text }| PolicyFileForm { name, text });
            let request = ApplyRequest { files: files.collect() };
            let rest = Rest::of(&global);
            let applied: AppliedForm = rest.send(Method::PUT, "/v1/policy", &request).await?;
            print(global.output, &applied, || format!("revision {}", applied.revision))?;
            Ok(Exit::Ok)
        }
        PolicyVerb::Show(asks) => {
            global.server_socket = asks.server_socket;
            let shown: PolicyForm = Rest::of(&global).get("/v1/policy").await?;
            print(global.output, &shown, || {
                let whole = |file: &PolicyFileForm| format!("# {}\n{}", file.name, file.text);
                format!("# revision {}\n{}", shown.revision, shown.files.iter().map(whole).collect::<String>())
            })?;
            Ok(Exit::Ok)
        }
    }
}

/// A policy file and its dialect, as they are shown.
#[derive(Serialize)]
struct CheckedFile {
    name: String,
    rego: &'static str,
}

fn test(global: &Global, folder: &Path) -> Result<Exit, Failure> {
    let set = load(folder, true)?;
    let mut tables = Vec::new();
    for item in std::fs::read_dir(folder).map_err(Failure::failed)?.flatten() {
        let path = item.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("_test.yaml")) {
            let text = std::fs::read_to_string(&path).map_err(Failure::failed)?;
            tables.push(TestFile::parse(&text).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?);
        }
    }
    let outcomes = run_tests(&set, &tables, now());
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    let row = |outcome: sekisho_policy::TestOutcome| TestRow {
        name: outcome.name,
        passed: outcome.passed,
        detail: outcome.detail,
    };
    let rows: Vec<TestRow> = outcomes.into_iter().map(row).collect();
    let columns: [Column<'_, TestRow>; 2] =
        [("TEST", &|row| format!("{} {}", mark(row.passed), row.name)), ("DETAIL", &|row| row.detail.clone())];
    print(global.output, &rows, || {
        format!("{}\n\n{} passed, {failed} failed", table(&rows, &columns), rows.len() - failed)
    })?;
    if rows.is_empty() {
        return Err(Failure::failed("no tests found: name them `*_test.rego` or `*_test.yaml`"));
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Denied })
}

fn eval(global: &Global, folder: &Path, input: &Path, at: Option<UnixTime>) -> Result<Exit, Failure> {
    let set = load(folder, false)?;
    let text = if input == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(input)
    };
    let text = text.map_err(|e| reach::unreadable(input, &e))?;
    let value = serde_json::from_str(&text)
        .map_err(|e| Failure::failed(format!("{}: the input is not JSON: {e}", input.display())))?;
    let decision = set.decide(
        &RequestInput::from_author(&value).map_err(|e| Failure::failed(format!("{}: {e}", input.display())))?,
        at.unwrap_or_else(now),
    );
    let rule = decision.rule.as_ref().map(ShownRule::from);
    let shown = json!({"effect": decision.effect.as_str(), "rule": rule, "error": decision.error});
    print(global.output, &shown, || format!("{}\n{}", decision.effect.as_str(), decision_text(&decision)))?;
    Ok(if decision.effect.is_allow() { Exit::Ok } else { Exit::Denied })
}

/// A test and its result, as they are shown.
#[derive(Serialize)]
struct TestRow {
    name: String,
    passed: bool,
    detail: String,
}
