//! What a document fails to meet in its schema, and the checks of types and numbers.

use super::gofloat::format_float;
use crate::value::{Number, Object, Value};

/// The failures that are reported.
const MAX_FAILURES: usize = 1_000;

/// The failures of a part, and how near it was to match.
#[derive(Default)]
pub(super) struct Report {
    failures: Vec<Value>,
    pub(super) score: i64,
}

impl Report {
    pub(super) fn add(&mut self, kind: &str, place: &str, description: impl Into<String>) {
        let field = place.strip_prefix("(root).").unwrap_or(place);
        let description = description.into();
        let members = [
            ("error", format!("{field}: {description}")),
            ("type", kind.to_owned()),
            ("field", field.to_owned()),
            ("desc", description),
        ];
        self.score -= 2;
        if self.failures.len() < MAX_FAILURES {
            let object: Object = members.into_iter().map(|(k, v)| (Value::from(k), Value::from(v))).collect();
            self.failures.push(Value::from(object));
        }
    }

    pub(super) fn merge(&mut self, other: Report) {
        self.score += other.score;
        self.failures.extend(other.failures);
        self.failures.truncate(MAX_FAILURES);
    }

    pub(super) fn into_failures(self) -> Vec<Value> {
        self.failures
    }

    pub(super) fn is_valid(&self) -> bool {
        self.failures.is_empty()
    }
}

/// A number as Go's `big.Float` is shown.
fn shown(number: &Number) -> String {
    match number.to_bigint() {
        Some(whole) if whole.bits() < 33 => whole.to_string(),
        _ => format_float(number.to_f64(), 'g', Some(10)),
    }
}

pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Number(number) if number.is_integer() => "integer",
        other => other.type_name(),
    }
}

/// Is a number a multiple of another? By exact decimals.
fn is_multiple(number: &Number, of: &Number) -> bool {
    let ((a, i), (b, j)) = (number.to_parts(), of.to_parts());
    let low = i.min(j);
    let lift =
        |digits: num_bigint::BigInt, exponent: i32| digits * num_bigint::BigInt::from(10).pow(exponent.abs_diff(low));
    let (a, b) = (lift(a, i), lift(b, j));
    b.sign() != num_bigint::Sign::NoSign && (a % b).sign() == num_bigint::Sign::NoSign
}

/// The types that a schema expects, where a value has none of them.
pub(super) fn wrong_type(schema: &Object, value: &Value) -> Option<String> {
    let found = type_of(value);
    let fits = |name: &str| name == found || name == "number" && found == "integer";
    match schema.get_str("type")? {
        Value::Array(names) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            let fits = names.is_empty() || names.iter().any(|name| fits(name));
            let text = if names.len() == 1 { names.concat() } else { format!("[{}]", names.join(",")) };
            (!fits).then_some(text)
        }
        Value::String(name) => (!fits(name)).then(|| name.to_string()),
        _ => None,
    }
}

/// `multipleOf` and the bounds of a number.
pub(super) fn check_number(schema: &Object, number: &Number, place: &str, report: &mut Report) {
    let bound = |key: &str| schema.get_str(key).and_then(Value::as_number);
    if let Some(of) = bound("multipleOf").filter(|of| !is_multiple(number, of)) {
        report.add("multiple_of", place, format!("Must be a multiple of {}", shown(of)));
    }
    let strict = |key: &str| schema.get_str(key) == Some(&Value::Bool(true));
    if let Some(most) = bound("maximum") {
        if strict("exclusiveMaximum") && number >= most {
            report.add("number_lt", place, format!("Must be less than {}", shown(most)));
        } else if !strict("exclusiveMaximum") && number > most {
            report.add("number_lte", place, format!("Must be less than or equal to {}", shown(most)));
        }
    }
    if let Some(most) = bound("exclusiveMaximum").filter(|most| number >= *most) {
        report.add("number_lt", place, format!("Must be less than {}", shown(most)));
    }
    if let Some(least) = bound("minimum") {
        if strict("exclusiveMinimum") && number <= least {
            report.add("number_gt", place, format!("Must be greater than {}", shown(least)));
        } else if !strict("exclusiveMinimum") && number < least {
            report.add("number_gte", place, format!("Must be greater than or equal to {}", shown(least)));
        }
    }
    if let Some(least) = bound("exclusiveMinimum").filter(|least| number <= *least) {
        report.add("number_gt", place, format!("Must be greater than {}", shown(least)));
    }
}
