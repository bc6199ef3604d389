//! OPA's own cases against this engine, as a table by category.

#[cfg(test)]
mod opa;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use opa::Case;
use sekisho_rego::syntax::ast::Version;

/// The least share of v1 cases, without network and GraphQL, that has to pass. It only rises.
const LEAST_V1: f64 = 0.99;

/// The least share of v0 cases that has to pass. It only rises.
const LEAST_V0: f64 = 0.99;

/// What is not counted: functions that leave the process, and GraphQL without its feature.
const OUTSIDE: &[&str] = if cfg!(feature = "graphql") { &["netlookupipaddr"] } else { &["graphql", "netlookupipaddr"] };

/// How the page with the table begins; `OPA_TABLE` names the file that receives it.
const HEAD: &str = "# Conformance of the Rego engine\n\n\
    OPA's own cases, read from its Go module at test time, against `sekisho-rego`. The table is written\n\
    by `OPA_TABLE=$PWD/docs/policy-conformance.md cargo test -p sekisho-rego --test conformance`. A case\n\
    fails for the reason beside it. `http.send`, `net.lookup_ip_addr`, the environment of `opa.runtime`\n\
    and `rand.intn` are left out on purpose: a decision depends on its input, its data and the time\n\
    alone.\n";

const ABSENT: &str = "OPA's test cases are not in the module cache";

#[derive(Default)]
struct Count {
    passed: usize,
    all: usize,
}

impl Count {
    fn share(&self) -> f64 {
        self.passed as f64 / (self.all.max(1)) as f64
    }
}

struct Report {
    categories: BTreeMap<String, Count>,
    failed: Vec<(String, String, String)>,
    inside: Count,
}

fn report(cases: Vec<Case>) -> Report {
    let mut report = Report { categories: BTreeMap::new(), failed: Vec::new(), inside: Count::default() };
    let only = std::env::var_os("OPA_NOTE").map(|part| part.to_string_lossy().into_owned());
    for case in cases {
        if only.as_ref().is_some_and(|only| !case.note.contains(only)) {
            continue;
        }
        let outcome = std::panic::catch_unwind(|| case.check()).unwrap_or_else(|_| Err("panic".to_owned()));
        let passed = usize::from(outcome.is_ok());
        let count = report.categories.entry(case.category.clone()).or_default();
        count.all += 1;
        count.passed += passed;
        if !OUTSIDE.contains(&case.category.as_str()) {
            report.inside.all += 1;
            report.inside.passed += passed;
        }
        if let Err(reason) = outcome {
            report.failed.push((case.category, case.note, reason));
        }
    }
    report
}

impl Report {
    fn table(&self, title: &str) -> String {
        let mut text = format!(
            "\n## {title}: {} of {} ({:.1} %) without {}\n\n| category | passed | cases |\n|---|---:|---:|\n",
            self.inside.passed,
            self.inside.all,
            100.0 * self.inside.share(),
            OUTSIDE.join(" and "),
        );
        for (category, count) in &self.categories {
            let _infallible = writeln!(text, "| {category} | {} | {} |", count.passed, count.all);
        }
        text.push_str("\nCases that fail:\n\n");
        for category in OUTSIDE {
            let count = self.failed.iter().filter(|failed| failed.0 == *category).count();
            let _infallible = writeln!(text, "- {category}: {count} cases: left out, see above");
        }
        for (category, note, reason) in self.failed.iter().filter(|failed| !OUTSIDE.contains(&failed.0.as_str())) {
            let reason = reason.replace('\n', " ").replace('|', "\\|");
            let reason: String = reason.chars().take(300).collect();
            text.push_str(&wrapped(&format!("- {category}: `{note}`: {reason}")));
        }
        text
    }
}

/// The text in lines of at most 100 columns.
fn wrapped(text: &str) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for word in text.split_whitespace() {
        let width = word.chars().count() + 1;
        if column > 0 && column + width > 100 {
            out.push_str("\n ");
            column = 1;
        }
        if column > 0 {
            out.push(' ');
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
    out
}

#[test]
fn opa_s_cases_pass() {
    let Some(folder) = opa::folder() else { return opa::skipped(ABSENT) };
    let v1 = report(opa::cases(&folder.join("v1"), Version::V1, false));
    let v0 = report(opa::cases(&folder.join("v0"), Version::V0, false));
    let text = format!("{}{}", v1.table("Version 1"), v0.table("Version 0"));
    println!("{text}");
    if let Some(path) = std::env::var_os("OPA_TABLE") {
        std::fs::write(path, format!("{HEAD}{text}")).unwrap();
    }
    println!("v1 {:.4} v0 {:.4}", v1.inside.share(), v0.inside.share());
    if std::env::var_os("OPA_NOTE").is_none() {
        assert!(v1.inside.share() >= LEAST_V1 && v0.inside.share() >= LEAST_V0);
    }
}

/// OPA runs every case a second time with `not` as a keyword that negates a body.
#[test]
fn cases_pass_with_negated_bodies() {
    let Some(folder) = opa::folder() else { return opa::skipped(ABSENT) };
    let v1 = report(opa::cases(&folder.join("v1"), Version::V1, true));
    println!("{}", v1.table("Version 1 with negated bodies"));
    assert!(v1.inside.share() >= LEAST_V1);
}
