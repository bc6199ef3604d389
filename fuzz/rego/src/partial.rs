//! Residuals of our partial evaluation, evaluated by OPA: they decide as OPA decides by the policy itself.

use sekisho_rego::partial::{Options, Residual, Unknown};
use sekisho_rego::syntax::ast::Version;
use sekisho_rego::value::Value;
use sekisho_rego::{Limits, Policy};

use crate::Random;
use crate::case::Case;
use crate::compare::{Compared, Opa};
use crate::documents::MEMBERS;
use crate::opa::Server;
use crate::ours::Outcome;

/// How often definitions are removed that only OPA refuses.
const MOST_PRUNED: usize = 8;
/// Support modules of one residual, at most.
const MOST_MODULES: usize = 16;

impl Opa {
    /// Compares the residuals of the case of a seed, if it is of version 1: residuals are.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub fn compare_residuals(&mut self, seed: u64) -> std::io::Result<Compared> {
        let (mut case, mut found) = (Case::new(seed), Compared::default());
        if case.version == Version::V0 || !installed(&mut self.v1, &mut case)? {
            return Ok(found);
        }
        let Ok(policy) = case.compile(&case.text(&case.definitions)) else { return Ok(found) };
        self.v1.data("d", &case.data)?;
        let mut random = Random::new(seed ^ 3);
        let unknown: Vec<&str> = MEMBERS.iter().map(|(name, _)| *name).filter(|_| random.one_in(3)).collect();
        for name in &case.documents {
            if let Some(residual) = residual(&policy, &case, name, &unknown) {
                compare(&mut self.v1, &case, (seed, name, &unknown), &residual, &mut found)?;
            }
        }
        Ok(found)
    }
}

/// Gives the server the part of the case that it accepts.
fn installed(server: &mut Server, case: &mut Case) -> std::io::Result<bool> {
    for _ in 0..MOST_PRUNED {
        server.remove("t.rego")?;
        let refused = server.module("t.rego", &case.text(&case.definitions))?;
        if refused.is_empty() {
            return Ok(true);
        }
        case.remove(refused.iter().map(|one| one.row));
    }
    Ok(false)
}

/// The residual of a document; none where a bound is reached.
fn residual(policy: &Policy, case: &Case, name: &str, unknown: &[&str]) -> Option<Residual> {
    let query = policy.query(&format!("x = data.t.{name}")).ok()?;
    let unknowns = unknown.iter().filter_map(|name| Unknown::parse(&format!("input.{name}")).ok()).collect();
    let limits = Limits { strict: false, steps: 300_000, ..Limits::default() };
    let options = Options { unknowns, limits, most_bodies: 200, largest: 20_000, ..Options::default() };
    query.partial(&case.all_data(), case.inputs.first(), &options).ok()
}

fn compare(
    server: &mut Server,
    case: &Case,
    (seed, name, unknown): (u64, &str, &[&str]),
    residual: &Residual,
    found: &mut Compared,
) -> std::io::Result<()> {
    let rule = |body: &String| format!("result contains x if {{\n{body}\n}}\n");
    let rules: Vec<String> = residual.queries().iter().map(rule).collect();
    let mut modules = residual.modules();
    if modules.len() > MOST_MODULES {
        return Ok(());
    }
    modules.push(("residual.rego".to_owned(), format!("package residual\n\n{}", rules.join("\n"))));
    let mut refused = Vec::new();
    for (file, text) in &modules {
        refused.extend(server.module(file, text)?);
    }
    let original = format!("data.t.{name}");
    if refused.is_empty() {
        for other in &case.inputs {
            let input = filled_in(case.inputs.first(), other, unknown);
            let whole = server.evaluate(&original, &input, false)?;
            let rest = server.evaluate("data.residual.result", &input, false)?;
            found.evaluations += 1;
            match (&whole, &rest) {
                (Outcome::Value(value), Outcome::Value(rows))
                    if rows.as_array().is_some_and(|rows| is_only(rows, value)) =>
                {
                    found.values += 1;
                }
                (Outcome::Undefined, Outcome::Undefined) => {}
                (Outcome::Undefined, Outcome::Value(rows)) if rows.as_array().is_some_and(|rows| rows.is_empty()) => {}
                (Outcome::Failed(..), Outcome::Failed(..)) => found.errors += 1,
                // Which of several errors is met depends on the order of evaluation.
                (Outcome::Failed(..), _) | (_, Outcome::Failed(..)) => found.known += 1,
                _ => {
                    let texts: Vec<&str> = modules.iter().map(|(_, text)| text.as_str()).collect();
                    found.differences.push(format!(
                        "seed {seed} {original} without {unknown:?}: whole {whole:?}\nresidual {rest:?}\n{}\n\
                         input {}\ndata {}\n{}",
                        case.text(&case.definitions),
                        input.to_json(),
                        case.data.to_json(),
                        texts.join("\n"),
                    ));
                }
            }
        }
    } else {
        // OPA's check of types refuses calls that always fail.
        found.refused += 1;
    }
    for (file, _) in modules.iter().rev() {
        server.remove(file)?;
    }
    Ok(())
}

fn is_only(rows: &[Value], value: &Value) -> bool {
    matches!(rows, [row] if row.to_json() == value.to_json())
}

/// The first input with the unknown members of another.
fn filled_in(first: Option<&Value>, other: &Value, unknown: &[&str]) -> Value {
    let of = |value: &Value, wanted: bool| -> Vec<(Value, Value)> {
        let members = value.as_object().into_iter().flat_map(|members| members.iter());
        let is_unknown = |key: &Value| key.as_str().is_some_and(|key| unknown.contains(&key));
        members.filter(|(key, _)| is_unknown(key) == wanted).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let known = first.map(|first| of(first, false)).unwrap_or_default();
    Value::Object(known.into_iter().chain(of(other, true)).collect())
}
