//! Partial evaluation: what remains of a query where a part of the input is not known.

use clap::Args;
use sekisho_rego::Policy;
use sekisho_rego::partial::{self, Residual, Unknown};
use sekisho_types::UnixTime;
use serde_json::{Value, json};

use super::answers::as_json;
use crate::exit::Failure;

#[derive(Debug, Args)]
pub(super) struct PartialArgs {
    /// Evaluate as far as the input is known, and show what remains
    #[arg(short, long, env = "SEKISHO_POLICY_PARTIAL", requires = "query",
        conflicts_with_all = ["explain", "profile", "coverage"])]
    pub(super) partial: bool,
    /// A part of the input or of data that is not known, such as `input.subject`; may be repeated; default: `input`
    #[arg(short, long, env = "SEKISHO_POLICY_UNKNOWNS", requires = "partial", value_delimiter = ',',
        value_parser = Unknown::parse)]
    unknowns: Vec<Unknown>,
    /// A document of data that is not put in place of what reads it; may be repeated
    #[arg(long, env = "SEKISHO_POLICY_DISABLE_INLINING", requires = "partial", value_parser = document)]
    disable_inlining: Vec<Document>,
    /// Put no rule that reads what is not known in place of what reads it
    #[arg(long, env = "SEKISHO_POLICY_SHALLOW_INLINING", requires = "partial")]
    shallow_inlining: bool,
    /// Evaluate calls like `time.now_ns()` now
    #[arg(
        long,
        env = "SEKISHO_POLICY_NONDETERMINISTIC_BUILTINS",
        requires = "partial",
        alias = "nondeterminstic-builtins"
    )]
    nondeterministic_builtins: bool,
}

/// The path of a document below data.
#[derive(Debug, Clone)]
struct Document(Vec<sekisho_rego::value::Value>);

fn document(text: &str) -> Result<Document, String> {
    let path = Unknown::parse(text)?.below_data().map(<[_]>::to_vec);
    path.map(Document).ok_or_else(|| format!("`{text}` is not a document of data; write it as `data.app.roles`"))
}

impl PartialArgs {
    pub(super) fn options(&self, at: UnixTime) -> partial::Options {
        let mut options = partial::Options {
            not_inlined: self.disable_inlining.iter().map(|document| document.0.clone()).collect(),
            shallow: self.shallow_inlining,
            now: self.nondeterministic_builtins.then(|| at.nanos()),
            ..partial::Options::default()
        };
        if !self.unknowns.is_empty() {
            options.unknowns.clone_from(&self.unknowns);
        }
        options
    }
}

/// `{"partial": {"queries": […], "support": […]}}`, as OPA writes it.
pub(super) fn json(residual: &Residual, policy: &Policy) -> Result<Value, Failure> {
    let found = residual.to_opa(policy.modules()).map_err(Failure::failed)?;
    Ok(json!({"partial": as_json(&found)}))
}

/// The residual as Rego.
pub(super) fn text(residual: &Residual) -> String {
    let queries = residual.queries();
    if queries.is_empty() {
        return "# Never: the query holds for no value of what is not known".to_owned();
    }
    let number = |(at, text): (usize, &String)| format!("# Query {}\n{}\n", at + 1, text.trim_end());
    let mut parts: Vec<String> = queries.iter().enumerate().map(number).collect();
    let modules = residual.modules();
    parts.extend(
        modules.iter().enumerate().map(|(at, (_, text))| format!("# Module {}\n{}\n", at + 1, text.trim_end())),
    );
    if residual.reads_modules() {
        parts.push("# What was evaluated is read as well\n".to_owned());
    }
    parts.join("\n").trim_end().to_owned()
}
