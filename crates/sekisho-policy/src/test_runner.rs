//! Unit tests of policies: `test_*` rules in Rego, and tables of cases in YAML.

use sekisho_rego::Tracer;
use sekisho_rego::syntax::ast::HeadKind;
use sekisho_rego::value::Value;
use sekisho_types::UnixTime;
use serde::Deserialize;

use crate::refs::{head_name, package};
use crate::schema::check_document;
use crate::{PolicyError, PolicySet, Source, context};

/// A table of cases beside a policy, as YAML.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestFile {
    pub cases: Vec<TestCase>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    pub name: String,
    /// Seconds since 1970; the decision's clock. Absent: the runner's.
    #[serde(default)]
    pub now: Option<i64>,
    pub input: serde_json::Value,
    pub allow: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    pub name: String,
    pub passed: bool,
    pub detail: String,
}

impl TestFile {
    /// Reads a table; the message names line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_yaml_ng::from_str(text).map_err(|e| e.to_string())
    }
}

/// Loads a set once its own tests pass: `*_test.rego` and `*_test.yaml` among the files, which are not part of the set.
pub fn load_tested(sources: Vec<Source>, now: UnixTime) -> Result<PolicySet, PolicyError> {
    let (tables, rego): (Vec<_>, Vec<_>) = sources.into_iter().partition(|source| source.name.ends_with("_test.yaml"));
    let set = PolicySet::load(rego.iter().filter(|source| !source.name.ends_with("_test.rego")).cloned().collect())?;
    let table = |source: &Source| {
        TestFile::parse(&source.text).map_err(|reason| PolicyError::At { file: source.name.clone(), line: 1, reason })
    };
    let tables = tables.iter().map(table).collect::<Result<Vec<_>, _>>()?;
    let with_tests = if rego.len() > set.sources().len() { Some(PolicySet::load(rego)?) } else { None };
    let outcomes = run_tests(with_tests.as_ref().unwrap_or(&set), &tables, now);
    let mut failed = outcomes.iter().filter(|outcome| !outcome.passed);
    let Some(TestOutcome { name, detail, .. }) = failed.next() else { return Ok(set) };
    let others = failed.count();
    Err(PolicyError::Test { name: name.clone(), detail: detail.clone(), others })
}

/// Runs every `test_*` rule and every case of `tables` at `now`.
pub fn run_tests(policy: &PolicySet, tables: &[TestFile], now: UnixTime) -> Vec<TestOutcome> {
    run_tests_with(policy, tables, now, None)
}

/// The same; `tracer` hears what the tests evaluate, cases of tables included.
pub fn run_tests_with(
    policy: &PolicySet,
    tables: &[TestFile],
    now: UnixTime,
    mut tracer: Option<&mut dyn Tracer>,
) -> Vec<TestOutcome> {
    let mut out = Vec::new();
    for path in rego_tests(policy) {
        out.push(rego_test(policy, &path, now, tracer.as_mut().map(|tracer| &mut **tracer as &mut dyn Tracer)));
    }
    for case in tables.iter().flat_map(|table| &table.cases) {
        let now = case.now.map_or(now, UnixTime::from_seconds);
        if let Err(detail) = check_document(&case.input) {
            out.push(TestOutcome { name: case.name.clone(), passed: false, detail });
            continue;
        }
        let input = Value::from_json(&case.input.to_string()).unwrap_or_default();
        let decision = policy.decide_value(&input, now);
        if let Some(tracer) = &mut tracer {
            // The decision may be the lowering's; an error of the engine is in the decision as well.
            let _same_result = policy.trace(&input, now, *tracer);
        }
        let passed = decision.effect.is_allow() == case.allow && decision.error.is_none();
        let wanted = if case.allow { "allow" } else { "deny" };
        let error = decision.error.map(|e| format!(" ({e})")).unwrap_or_default();
        out.push(TestOutcome {
            name: case.name.clone(),
            passed,
            detail: format!("wanted {wanted}, got {}{error}", decision.effect),
        });
    }
    out
}

/// The paths of `test_*` rules.
fn rego_tests(policy: &PolicySet) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for module in policy.policy.modules() {
        for rule in module.rules.iter().filter(|rule| !rule.default && matches!(rule.head.kind, HeadKind::Value(_))) {
            if let Some(name) = head_name(&rule.head).filter(|name| name.starts_with("test_")) {
                let path: Vec<String> = package(module).into_iter().chain([name.to_owned()]).collect();
                paths.push(path);
            }
        }
    }
    paths.dedup();
    paths
}

fn rego_test(policy: &PolicySet, path: &[String], now: UnixTime, tracer: Option<&mut dyn Tracer>) -> TestOutcome {
    let name = format!("data.{}", path.join("."));
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let mut context = context::take(now);
    let limits = context::limits(None);
    let value = match (policy.policy.document(&path), tracer) {
        (Some(test), None) => test.eval_in(&context::NO_DATA, None, &mut context, &limits, None),
        (Some(test), Some(tracer)) => test.trace(&context::NO_DATA, None, &mut context, &limits, tracer),
        (None, _) => Ok(None),
    };
    context::keep(&mut context);
    match value {
        Ok(Some(value)) => TestOutcome { name, passed: value == Value::Bool(true), detail: format!("came to {value}") },
        Ok(None) => TestOutcome { name, passed: false, detail: "is undefined: a condition of it does not hold".into() },
        Err(error) => TestOutcome { name, passed: false, detail: error.to_string() },
    }
}
