//! Unit tests of policies: `test_*` rules in Rego, and tables of cases in YAML.

use std::panic::{AssertUnwindSafe, catch_unwind};

use regorus::Value;
use regorus::unstable::{Expr, Rule, RuleHead};
use sekisho_types::UnixTime;
use serde::Deserialize;

use crate::schema::check_document;
use crate::{PolicyError, PolicySet, Source, builtins, work};

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
    let mut out = rego_tests(policy, now);
    for case in tables.iter().flat_map(|table| &table.cases) {
        let now = case.now.map_or(now, UnixTime::from_seconds);
        if let Err(detail) = check_document(&case.input) {
            out.push(TestOutcome { name: case.name.clone(), passed: false, detail });
            continue;
        }
        let input = Value::from_json_str(&case.input.to_string()).unwrap_or(Value::Undefined);
        let decision = policy.decide_value(&input, now);
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

fn rego_tests(policy: &PolicySet, now: UnixTime) -> Vec<TestOutcome> {
    let mut modules = policy.engine.clone();
    let mut names = Vec::new();
    for module in modules.get_modules() {
        let package = module.package.refr.span().text();
        for rule in &module.policy {
            if let Rule::Spec { head: RuleHead::Compr { refr, .. }, .. } = &**rule
                && let Expr::Var { span, .. } = &**refr
                && span.text().starts_with("test_")
            {
                names.push(format!("data.{package}.{}", span.text()));
            }
        }
    }
    names.dedup();
    let run = |name: &String| {
        let evaluated = catch_unwind(AssertUnwindSafe(|| {
            let mut engine = policy.engine.clone();
            work::begin();
            builtins::bind_clock(&mut engine, now)?;
            engine.eval_rule(name.clone()).map_err(|e| e.to_string())
        }));
        let (passed, detail) = match evaluated {
            Ok(Ok(value)) => (value == Value::from(true), format!("came to {value}")),
            Ok(Err(error)) => (false, error),
            Err(_) => (false, "the policy engine panicked".to_owned()),
        };
        TestOutcome { name: name.clone(), passed, detail }
    };
    names.iter().map(run).collect()
}
