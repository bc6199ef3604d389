//! `sekisho policy test`: the tests of a folder.

use std::path::{Path, PathBuf};

use clap::Args;
use sekisho_policy::{TestFile, run_tests_with};
use sekisho_rego::Tracer;
use sekisho_rego::tracers::Cover;
use sekisho_runtime::now;
use serde::Serialize;
use serde_json::json;

use super::files::load;
use super::reports;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, mark, print, table};

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Folder with the policy and its tests
    folder: PathBuf,
    /// Show which rules and conditions the tests evaluate
    #[arg(short, long, env = "SEKISHO_POLICY_COVERAGE")]
    coverage: bool,
    /// Covered lines in percent, below which the exit code is 2; implies `--coverage`
    #[arg(long, env = "SEKISHO_POLICY_THRESHOLD", value_parser = percent)]
    threshold: Option<f64>,
}

/// A number from 0 to 100.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "a threshold is a number from 0 to 100".to_owned())
}

pub(super) fn run(global: &Global, args: &TestArgs) -> Result<Exit, Failure> {
    let folder: &Path = &args.folder;
    let set = load(folder, true)?;
    let mut tables = Vec::new();
    for item in std::fs::read_dir(folder).map_err(Failure::failed)?.flatten() {
        let path = item.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("_test.yaml")) {
            let text = std::fs::read_to_string(&path).map_err(Failure::failed)?;
            tables.push(TestFile::parse(&text).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?);
        }
    }
    let mut cover = (args.coverage || args.threshold.is_some()).then(Cover::new);
    let tracer = cover.as_mut().map(|cover| cover as &mut dyn Tracer);
    let outcomes = run_tests_with(&set, &tables, now(), tracer);
    let report = cover.map(|cover| cover.report(set.modules()));
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    let row = |outcome: sekisho_policy::TestOutcome| TestRow {
        name: outcome.name,
        passed: outcome.passed,
        detail: outcome.detail,
    };
    let rows: Vec<TestRow> = outcomes.into_iter().map(row).collect();
    let columns: [Column<'_, TestRow>; 2] =
        [("TEST", &|row| format!("{} {}", mark(row.passed), row.name)), ("DETAIL", &|row| row.detail.clone())];
    let text = || format!("{}\n\n{} passed, {failed} failed", table(&rows, &columns), rows.len() - failed);
    match &report {
        None => print(global.output, &rows, text)?,
        Some(report) => {
            let shown = json!({"tests": rows, "coverage": reports::coverage_json(report)});
            print(global.output, &shown, || format!("{}\n\n{}", text(), reports::coverage(report)))?;
        }
    }
    if rows.is_empty() {
        return Err(Failure::failed("no tests found: name them `*_test.rego` or `*_test.yaml`"));
    }
    let covered = report.as_ref().map_or(100.0, |report| report.percent());
    if let Some(threshold) = args.threshold.filter(|threshold| covered < *threshold) {
        let message = format!("{covered:.1} % of the lines are covered, fewer than {threshold} %");
        return Err(Failure::new(Exit::Denied, message));
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Denied })
}

/// A test and its result, as they are shown.
#[derive(Serialize)]
struct TestRow {
    name: String,
    passed: bool,
    detail: String,
}
