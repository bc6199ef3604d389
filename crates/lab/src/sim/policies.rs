//! The policies that the operator applies, and what each allows, judged without the policy engine.

use serde_json::{Value, json};

use super::here::random;
use super::request::{METHODS, PATHS, Request};

/// Who may ask, besides everyone.
const SUBJECTS: [&str; 2] = ["spiffe://example.org/side/side-0", "spiffe://example.org/side/side-1"];

/// One `allow` rule: each condition that is there must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    method: Option<&'static str>,
    path: Option<&'static str>,
    subject: Option<&'static str>,
}

/// A policy: it allows what one of its rules allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules(Vec<Rule>);

/// One of these, or none.
fn some_of(from: &[&'static str]) -> Option<&'static str> {
    from.get(random(2 * from.len() as u64) as usize).copied()
}

impl Rules {
    /// By the seed: of none to three rules.
    pub(super) fn drawn() -> Self {
        let count = random(4);
        let rule = |_| Rule { method: some_of(&METHODS), path: some_of(&PATHS), subject: some_of(&SUBJECTS) };
        Self((0..count).map(rule).collect())
    }

    /// The same in Rego.
    pub(super) fn text(&self) -> String {
        let rules = self.0.iter().map(|rule| {
            let method = rule.method.map(|method| format!("\tinput.method == \"{method}\"\n"));
            let path = rule.path.map(|path| format!("\tinput.path == [\"{path}\"]\n"));
            let subject = rule.subject.map(|subject| format!("\tinput.subject.spiffe_id == \"{subject}\"\n"));
            let conditions: String = [method, path, subject].into_iter().flatten().collect();
            let conditions = if conditions.is_empty() { "\ttrue\n".to_owned() } else { conditions };
            format!("\nallow if {{\n{conditions}}}\n")
        });
        format!("package workload.authz\n\ndefault allow := false\n{}", rules.collect::<String>())
    }

    /// Whether a request of this subject is allowed.
    pub(super) fn allow(&self, subject: &str, request: &Request) -> bool {
        self.0.iter().any(|rule| {
            rule.method.is_none_or(|method| method == request.method())
                && rule.path.is_none_or(|path| path == request.path())
                && rule.subject.is_none_or(|own| own == subject)
        })
    }
}

/// A file of a policy, as the REST API takes it.
fn file(name: &str, text: &str) -> Value {
    json!({"name": name, "text": text})
}

/// A policy as the REST API takes it.
pub(super) fn form(rules: &Rules) -> Value {
    json!({"files": [file("authz.rego", &rules.text())]})
}

/// A policy that must be refused: it does not parse, belongs to another package, or fails its own test. All of them
/// would allow every request.
pub(super) fn broken_form() -> Value {
    let all = "package workload.authz\n\nallow if true\n";
    let test = "package workload.authz\n\ntest_denied if {\n\tnot allow\n}\n";
    match random(3) {
        0 => json!({"files": [file("authz.rego", &format!("{all}\nallow if {{"))]}),
        1 => json!({"files": [file("authz.rego", &all.replace("workload.authz", "other"))]}),
        _ => json!({"files": [file("authz.rego", all), file("authz_test.rego", test)]}),
    }
}
