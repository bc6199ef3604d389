//! Comparisons, tests of types, conversions, ranges, output and what this engine refuses.

use num_bigint::{BigInt, Sign};
use num_traits::ToPrimitive;

use super::context::{BuiltinError, Context, ErrorKind, Outcome, done, failure};
use super::operand::{any, array, big, items, string, type_error};
use crate::value::{Array, Number, Set, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("eq", equal),
    ("assign", equal),
    ("equal", equal),
    ("neq", |_, args| done(any(args, 0)? != any(args, 1)?)),
    ("lt", |_, args| done(any(args, 0)? < any(args, 1)?)),
    ("lte", |_, args| done(any(args, 0)? <= any(args, 1)?)),
    ("gt", |_, args| done(any(args, 0)? > any(args, 1)?)),
    ("gte", |_, args| done(any(args, 0)? >= any(args, 1)?)),
    ("is_array", |_, args| is(args, "array")),
    ("is_boolean", |_, args| is(args, "boolean")),
    ("is_null", |_, args| is(args, "null")),
    ("is_number", |_, args| is(args, "number")),
    ("is_object", |_, args| is(args, "object")),
    ("is_set", |_, args| is(args, "set")),
    ("is_string", |_, args| is(args, "string")),
    ("type_name", |_, args| done(any(args, 0)?.type_name())),
    ("cast_boolean", |_, args| cast(args, "boolean")),
    ("cast_null", |_, args| cast(args, "null")),
    ("cast_object", |_, args| cast(args, "object")),
    ("cast_string", |_, args| cast(args, "string")),
    ("cast_array", cast_array),
    ("cast_set", cast_set),
    ("to_number", to_number),
    ("numbers.range", numbers_range),
    ("numbers.range_step", numbers_range_step),
    ("trace", trace),
    ("internal.print", print),
    ("print", |_, _| Ok(None)),
    ("internal.template_string", template_string),
    ("internal.test_case", |_, _| done(true)),
    ("time.now_ns", |cx, _| done(cx.now_ns)),
    ("http.send", http_send),
    ("net.lookup_ip_addr", unavailable),
    ("opa.runtime", |_, _| done(Value::empty_object())),
    ("rand.intn", unavailable),
    ("rego.metadata.chain", |_, _| done(Vec::new())),
    ("rego.metadata.rule", |_, _| done(Value::empty_object())),
];

fn equal(_: &mut Context, args: &[Value]) -> Outcome {
    done(any(args, 0)? == any(args, 1)?)
}

/// False for any other type.
fn is(args: &[Value], name: &str) -> Outcome {
    done(any(args, 0)?.type_name() == name)
}

fn cast(args: &[Value], name: &str) -> Outcome {
    let value = any(args, 0)?;
    if value.type_name() == name { done(value.clone()) } else { Err(type_error(args, 0, &[name])) }
}

fn cast_array(cx: &mut Context, args: &[Value]) -> Outcome {
    let all = items(any(args, 0)?).ok_or_else(|| type_error(args, 0, &["array", "set"]))?;
    cx.spend_elements(all.len() as u64)?;
    done(all.to_vec())
}

fn cast_set(cx: &mut Context, args: &[Value]) -> Outcome {
    let all = items(any(args, 0)?).ok_or_else(|| type_error(args, 0, &["array", "set"]))?;
    cx.spend_order(any(args, 0)?.weight(), all.len())?;
    done(all.iter().cloned().collect::<Set>())
}

fn to_number(cx: &mut Context, args: &[Value]) -> Outcome {
    match any(args, 0)? {
        Value::Null => done(0_i64),
        Value::Bool(flag) => done(i64::from(*flag)),
        Value::Number(number) => done(number.clone()),
        Value::String(text) => {
            cx.spend(text.len())?;
            let plain = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
            if matches!(plain.as_str(), "inf" | "infinity" | "nan") {
                return Err(type_error(args, 0, &["valid number string"]));
            }
            let number = number_of(text)
                .ok_or_else(|| failure(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")))?;
            done(number)
        }
        _ => Err(type_error(args, 0, &["null", "boolean", "number", "string"])),
    }
}

/// A number in the notation of Go's `ParseFloat`: beside JSON's also `+1`, `.5`, `5.`, `007` and `0x1p4`.
fn number_of(text: &str) -> Option<Number> {
    if let Some(number) = Number::parse(text) {
        return Some(number);
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => unsigned.split_at_checked(at)?,
        None => (unsigned, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    };
    let sign = if negative { "-" } else { "" };
    let dot = if fraction.is_empty() { "" } else { "." };
    Number::parse(&format!("{sign}{whole}{dot}{fraction}{exponent}"))
}

fn numbers_range(cx: &mut Context, args: &[Value]) -> Outcome {
    range(cx, &big(args, 0)?, &big(args, 1)?, &BigInt::from(1))
}

fn numbers_range_step(cx: &mut Context, args: &[Value]) -> Outcome {
    let (from, to, step) = (big(args, 0)?, big(args, 1)?, big(args, 2)?);
    if step.sign() != Sign::Plus {
        return Err(failure("step must be a positive integer"));
    }
    range(cx, &from, &to, &step)
}

fn range(cx: &mut Context, from: &BigInt, to: &BigInt, step: &BigInt) -> Outcome {
    let distance = if from <= to { to - from } else { from - to };
    let count = (distance / step).to_usize().and_then(|steps| steps.checked_add(1)).unwrap_or(usize::MAX);
    cx.spend(count.saturating_mul(4))?;
    let step = if from <= to { step.clone() } else { -step };
    if let (Some(first), Some(small)) = (from.to_i64(), step.to_i64())
        && to.to_i64().is_some()
    {
        let numbers = std::iter::successors(Some(first), |last| last.checked_add(small)).take(count);
        return done(numbers.map(Value::from).collect::<Array>());
    }
    let numbers = std::iter::successors(Some(from.clone()), |last| Some(last + &step)).take(count);
    done(numbers.map(|number| Value::from(Number::from_bigint(number))).collect::<Array>())
}

fn trace(cx: &mut Context, args: &[Value]) -> Outcome {
    let note = string(args, 0)?.to_owned();
    cx.spend(note.len())?;
    cx.add_note(note);
    done(true)
}

/// A value as `print` and template strings show it: a string without quotes.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        other => other.to_string(),
    }
}

/// Each part with all its values: a set stands for what an expression gave, none if undefined.
fn parts(args: &[Value]) -> Result<Vec<Vec<String>>, BuiltinError> {
    let part = |item: &Value| match item {
        Value::Set(values) if values.is_empty() => Ok(vec!["<undefined>".to_owned()]),
        Value::Set(values) => Ok(values.iter().map(shown).collect()),
        Value::Array(_) | Value::Object(_) => Err(BuiltinError {
            kind: ErrorKind::Internal,
            message: format!("illegal argument type: {}", item.type_name()),
        }),
        other => Ok(vec![shown(other)]),
    };
    array(args, 0)?.iter().map(part).collect()
}

fn print(cx: &mut Context, args: &[Value]) -> Outcome {
    let mut lines = vec![String::new()];
    for (index, choices) in parts(args)?.into_iter().enumerate() {
        let size: usize = choices.iter().map(String::len).sum();
        let before: usize = lines.iter().map(String::len).sum();
        cx.spend(size.saturating_mul(lines.len()).saturating_add(before.saturating_mul(choices.len())))?;
        let space = if index == 0 { "" } else { " " };
        let extended =
            |line: &String| choices.iter().map(|choice| format!("{line}{space}{choice}")).collect::<Vec<_>>();
        lines = lines.iter().flat_map(extended).collect();
    }
    for line in lines {
        cx.add_printed(line);
    }
    done(true)
}

fn template_string(cx: &mut Context, args: &[Value]) -> Outcome {
    let mut text = String::new();
    for choices in parts(args)? {
        let [one] = choices.as_slice() else {
            return Err(BuiltinError {
                kind: ErrorKind::Conflict,
                message: "template-strings must not produce multiple outputs".to_owned(),
            });
        };
        cx.spend(one.len())?;
        text.push_str(one);
    }
    done(text)
}

/// Refuses a malformed request as OPA does, and any other as not available.
fn http_send(cx: &mut Context, args: &[Value]) -> Outcome {
    super::request::check(args, 0)?;
    unavailable(cx, args)
}

fn unavailable(_: &mut Context, _: &[Value]) -> Outcome {
    Err(failure("not available: a decision depends on its input, its data and the time alone"))
}
