//! Values and functions of Go's `text/template`.

use std::cmp::Ordering;

use super::context::{BuiltinError, Context, failure};
use super::gofloat::format_float;
use crate::value::Value;

/// A value of Go: one of JSON, a number written in the template, or nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum {
    Value(Value),
    Int(i64),
    Float(f64),
    Nothing,
}

impl Datum {
    pub(super) fn is_true(&self) -> bool {
        match self {
            Datum::Value(Value::Bool(flag)) => *flag,
            Datum::Value(Value::String(text)) => !text.is_empty(),
            Datum::Value(Value::Array(items)) => !items.is_empty(),
            Datum::Value(Value::Object(members)) => !members.is_empty(),
            Datum::Value(Value::Number(_)) => true,
            Datum::Int(number) => *number != 0,
            Datum::Float(number) => *number != 0.0,
            _ => false,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Datum::Value(Value::Null) | Datum::Nothing => "<no value>".to_owned(),
            Datum::Value(value) => shown(value),
            Datum::Int(number) => number.to_string(),
            Datum::Float(number) => format_float(*number, 'g', None),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Datum::Value(value) => value.clone(),
            Datum::Int(number) => Value::from(*number),
            Datum::Float(number) => crate::value::Number::from_f64(*number).map_or(Value::Null, Value::from),
            Datum::Nothing => Value::Null,
        }
    }
}

/// A value as Go's `%v` shows it.
fn shown(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(" ");
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.to_string(),
        Value::Array(items) => format!("[{}]", joined(items.iter().map(shown).collect())),
        Value::Object(members) => {
            let member = |(key, value): (&Value, &Value)| format!("{}:{}", shown(key), shown(value));
            format!("map[{}]", joined(members.iter().map(member).collect()))
        }
        other => other.to_string(),
    }
}

pub(super) fn wrong(what: impl std::fmt::Display) -> BuiltinError {
    failure(format!("template: template: {what}"))
}

/// The member that fields lead to; nothing where a map lacks one.
pub(super) fn follow(start: Datum, fields: &[String]) -> Result<Datum, BuiltinError> {
    fields.iter().try_fold(start, |value, field| match value {
        Datum::Value(Value::Object(members)) => {
            Ok(members.get_str(field).map_or(Datum::Nothing, |value| Datum::Value(value.clone())))
        }
        Datum::Nothing | Datum::Value(Value::Null) => Ok(Datum::Nothing),
        _ => Err(wrong(format!("can't evaluate field {field} in type interface {{}}"))),
    })
}

/// Calls a function of templates.
pub(super) fn call(cx: &mut Context, name: &str, args: &[Datum]) -> Result<Datum, BuiltinError> {
    let text = |text: String| Ok(Datum::Value(Value::from(text)));
    let joined = || args.iter().map(Datum::text).collect::<String>();
    let missing = || wrong(format!("wrong number of args for {name}"));
    let first = || args.first().ok_or_else(missing);
    match name {
        "and" | "or" => args.last().cloned().ok_or_else(missing),
        "not" => Ok(Datum::Value(Value::from(!first()?.is_true()))),
        "len" => match first()? {
            Datum::Value(Value::String(text)) => Ok(Datum::Int(text.len() as i64)),
            Datum::Value(Value::Array(items)) => Ok(Datum::Int(items.len() as i64)),
            Datum::Value(Value::Object(members)) => Ok(Datum::Int(members.len() as i64)),
            other => Err(wrong(format!("error calling len: len of {}", other.text()))),
        },
        "index" => args.iter().skip(1).try_fold(first()?.clone(), |value, key| index(&value, key)),
        "slice" => slice(args),
        "print" => {
            let mut out = String::new();
            for (at, arg) in args.iter().enumerate() {
                let is_text = |arg: Option<&Datum>| matches!(arg, Some(Datum::Value(Value::String(_))));
                let before = at.checked_sub(1).and_then(|before| args.get(before));
                if before.is_some() && !is_text(before) && !is_text(Some(arg)) {
                    out.push(' ');
                }
                out.push_str(&arg.text());
            }
            text(out)
        }
        "println" => text(args.iter().map(Datum::text).collect::<Vec<_>>().join(" ") + "\n"),
        "printf" => {
            let format = first()?.to_value();
            let values = Value::from(args.iter().skip(1).map(Datum::to_value).collect::<Vec<_>>());
            super::sprintf::sprintf(cx, &[format, values]).map(|value| Datum::Value(value.unwrap_or_default()))
        }
        "html" => text(joined().chars().map(html).collect()),
        "js" => text(joined().chars().map(js).collect()),
        "urlquery" => super::urls::encode(cx, &[Value::from(joined())]).map(|v| Datum::Value(v.unwrap_or_default())),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, args).map(|holds| Datum::Value(Value::from(holds))),
        _ => Err(wrong(format!("function {name:?} not defined"))),
    }
}

fn index(value: &Datum, key: &Datum) -> Result<Datum, BuiltinError> {
    match (value, key) {
        (Datum::Value(Value::Array(items)), Datum::Int(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| items.get(at));
            let outside = || wrong(format!("error calling index: index out of range: {at}"));
            found.map(|item| Datum::Value(item.clone())).ok_or_else(outside)
        }
        (Datum::Value(Value::String(text)), Datum::Int(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at));
            found.map(|byte| Datum::Int(i64::from(*byte))).ok_or_else(|| wrong("error calling index: out of range"))
        }
        (Datum::Value(Value::Object(members)), Datum::Value(key @ Value::String(_))) => {
            Ok(members.get(key).map_or(Datum::Nothing, |value| Datum::Value(value.clone())))
        }
        _ => Err(wrong(format!("error calling index: can't index item {} with {}", value.text(), key.text()))),
    }
}

fn slice(args: &[Datum]) -> Result<Datum, BuiltinError> {
    let outside = || wrong("error calling slice: index out of range");
    let at = |index: usize, default: usize| match args.get(index) {
        None => Ok(default),
        Some(Datum::Int(at)) => usize::try_from(*at).map_err(|_| outside()),
        Some(other) => Err(wrong(format!("error calling slice: cannot index slice with {}", other.text()))),
    };
    match args.first() {
        Some(Datum::Value(Value::String(text))) => {
            let part = text.get(at(1, 0)?..at(2, text.len())?).ok_or_else(outside)?;
            Ok(Datum::Value(Value::from(part)))
        }
        Some(Datum::Value(Value::Array(items))) => {
            let part = items.get(at(1, 0)?..at(2, items.len())?).ok_or_else(outside)?;
            Ok(Datum::Value(Value::from(part.to_vec())))
        }
        _ => Err(wrong("error calling slice: can't slice item")),
    }
}

/// Numbers of data are texts to Go, and numbers of the template are not.
fn order(a: &Datum, b: &Datum) -> Result<Ordering, BuiltinError> {
    let text = |datum: &Datum| match datum {
        Datum::Value(Value::String(text)) => Some(text.to_string()),
        Datum::Value(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let incomparable = || wrong("error calling comparison: incompatible types for comparison");
    match (a, b) {
        (Datum::Int(x), Datum::Int(y)) => Ok(x.cmp(y)),
        (Datum::Float(x), Datum::Float(y)) => Ok(x.total_cmp(y)),
        (Datum::Value(Value::Bool(x)), Datum::Value(Value::Bool(y))) => Ok(x.cmp(y)),
        _ => match (text(a), text(b)) {
            (Some(x), Some(y)) if a.to_value().type_name() == b.to_value().type_name() => Ok(x.cmp(&y)),
            _ => Err(incomparable()),
        },
    }
}

fn compare(name: &str, args: &[Datum]) -> Result<bool, BuiltinError> {
    let (Some(first), Some(second)) = (args.first(), args.get(1)) else {
        return Err(wrong(format!("error calling {name}: missing argument for comparison")));
    };
    if name == "eq" {
        for other in args.iter().skip(1) {
            if order(first, other)?.is_eq() {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let order = order(first, second)?;
    Ok(match name {
        "ne" => order.is_ne(),
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn html(c: char) -> String {
    match c {
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '&' => "&amp;".to_owned(),
        '"' => "&#34;".to_owned(),
        '\'' => "&#39;".to_owned(),
        '\0' => "\u{fffd}".to_owned(),
        c => c.to_string(),
    }
}

fn js(c: char) -> String {
    match c {
        '\\' | '\'' | '"' => format!("\\{c}"),
        '<' | '>' | '&' | '=' => format!("\\u{:04X}", u32::from(c)),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    }
}
