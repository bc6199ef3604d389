//! What our engine makes of a query.

use sekisho_rego::value::Value;
use sekisho_rego::{EvalCode, Limits, Policy};

/// The time of every evaluation: 2026-11-26T00:00:00Z.
pub(crate) const NOW: i64 = 1_795_651_200_000_000_000;

/// What an evaluation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A value, as JSON has it.
    Value(Value),
    /// No value.
    Undefined,
    /// An error.
    Failed(Failure),
    /// A bound of the engine was reached.
    Bounded,
}

/// Why an evaluation stopped without an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// OPA's name of the class.
    pub code: String,
    /// The message.
    pub message: String,
    /// The line of `t.rego`; 0 where it is elsewhere.
    pub row: u64,
}

impl Failure {
    fn of(code: &str, message: String, row: u64) -> Outcome {
        Outcome::Failed(Failure { code: code.to_owned(), message, row })
    }
}

/// The outcome of a document of data, such as `data.t.r1`.
pub fn evaluate(policy: &Policy, document: &str, data: &Value, input: &Value, strict: bool) -> Outcome {
    evaluate_with(policy, document, data, input, &Limits { strict, steps: 300_000, ..Limits::default() })
}

/// The same within other limits.
pub(crate) fn evaluate_with(policy: &Policy, document: &str, data: &Value, input: &Value, limits: &Limits) -> Outcome {
    let query = match policy.query(&format!("x = {document}")) {
        Ok(query) => query,
        Err(error) => return Failure::of("query", error.to_string(), 0),
    };
    match query.eval(data, Some(input), NOW, limits) {
        Ok(rows) => rows
            .into_iter()
            .flatten()
            .find(|binding| &*binding.name == "x")
            .map_or(Outcome::Undefined, |found| Outcome::Value(plain(&found.value))),
        Err(error) if matches!(error.code, EvalCode::Limit | EvalCode::Cancel) => Outcome::Bounded,
        Err(error) => {
            let place = error.place.as_ref().filter(|place| &*place.file == "t.rego");
            Failure::of(error.code.as_str(), error.message, place.map_or(0, |place| u64::from(place.line)))
        }
    }
}

/// As OPA turns a result into JSON: sets are arrays, keys are strings.
#[must_use]
pub fn plain(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        Value::Set(items) => Value::Array(items.iter().map(plain).collect()),
        Value::Object(members) => {
            let member = |(key, value): (&Value, &Value)| match key {
                Value::String(_) => (key.clone(), plain(value)),
                _ => (Value::from(plain(key).to_json()), plain(value)),
            };
            Value::Object(members.iter().map(member).collect())
        }
        _ => value.clone(),
    }
}
