//! Functions on strings. Positions count characters, not bytes.

use num_bigint::BigInt;
use num_traits::Num;

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::float::Float;
use super::operand::{any, int, items, number, object, operand_error, string, string_in, strings, type_error};
use crate::value::{Array, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("concat", concat),
    ("contains", |cx, args| test(cx, args, |s, part| s.contains(part))),
    ("startswith", |cx, args| test(cx, args, |s, part| s.starts_with(part))),
    ("endswith", |cx, args| test(cx, args, |s, part| s.ends_with(part))),
    ("format_int", format_int),
    ("indexof", indexof),
    ("indexof_n", indexof_n),
    ("lower", |cx, args| mapped(cx, args, lower_char)),
    ("upper", |cx, args| mapped(cx, args, upper_char)),
    ("replace", replace),
    ("strings.replace_n", replace_n),
    ("split", split),
    ("strings.split_n", split_n),
    ("strings.count", count),
    ("strings.reverse", reverse),
    ("strings.any_prefix_match", |cx, args| any_match(cx, args, |s, part| s.starts_with(part))),
    ("strings.any_suffix_match", |cx, args| any_match(cx, args, |s, part| s.ends_with(part))),
    ("substring", substring),
    ("trim", |cx, args| trimmed(cx, args, |s, set| s.trim_matches(|c| set.contains(c)))),
    ("trim_left", |cx, args| trimmed(cx, args, |s, set| s.trim_start_matches(|c| set.contains(c)))),
    ("trim_right", |cx, args| trimmed(cx, args, |s, set| s.trim_end_matches(|c| set.contains(c)))),
    ("trim_prefix", |cx, args| trimmed(cx, args, |s, part| s.strip_prefix(part).unwrap_or(s))),
    ("trim_suffix", |cx, args| trimmed(cx, args, |s, part| s.strip_suffix(part).unwrap_or(s))),
    ("trim_space", trim_space),
];

fn concat(cx: &mut Context, args: &[Value]) -> Outcome {
    let separator = string(args, 0)?;
    let Some(all) = items(any(args, 1)?) else {
        return Err(type_error(args, 1, &["set", "array"]));
    };
    let parts = all.iter().map(|item| string_in(args, 1, item)).collect::<Result<Vec<_>, _>>()?;
    let size: usize = parts.iter().map(|part| part.len()).sum();
    cx.spend(size.saturating_add(separator.len().saturating_mul(parts.len())))?;
    done(parts.join(separator))
}

fn test(cx: &mut Context, args: &[Value], holds: fn(&str, &str) -> bool) -> Outcome {
    let (text, part) = (string(args, 0)?, string(args, 1)?);
    cx.spend((text.len() + part.len()) / 16)?;
    done(holds(text, part))
}

fn format_int(cx: &mut Context, args: &[Value]) -> Outcome {
    let (value, base) = (number(args, 0)?, number(args, 1)?.to_string());
    let radix = match base.as_str() {
        "2" => 2,
        "8" => 8,
        "10" => 10,
        "16" => 16,
        _ => return Err(operand_error(1, "must be one of {2, 8, 10, 16}")),
    };
    let whole = match BigInt::from_str_radix(&value.to_string(), 10) {
        Ok(whole) => whole,
        Err(_) => Float::from_number(value).ok_or_else(|| failure("number too big"))?.truncated(),
    };
    cx.spend(whole.bits() as usize)?;
    done(whole.to_str_radix(radix))
}

/// The positions of `part` in `text`, overlapping ones too.
fn positions(text: &str, part: &str) -> impl Iterator<Item = usize> {
    let (text, part) = (text.to_owned(), part.to_owned());
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    starts
        .into_iter()
        .enumerate()
        .filter_map(move |(index, at)| text.get(at..).is_some_and(|rest| rest.starts_with(&part)).then_some(index))
}

fn search(cx: &mut Context, args: &[Value]) -> Result<Vec<usize>, BuiltinError> {
    let (text, part) = (string(args, 0)?, string(args, 1)?);
    if part.is_empty() {
        return Err(failure("empty search character"));
    }
    cx.spend(text.len().saturating_mul(1 + part.len() / 16).saturating_mul(2))?;
    Ok(positions(text, part).collect())
}

fn indexof(cx: &mut Context, args: &[Value]) -> Outcome {
    let (text, part) = (string(args, 0)?, string(args, 1)?);
    if part.is_empty() {
        return Err(failure("empty search character"));
    }
    cx.spend(text.len() / 8)?;
    let found = text.find(part).and_then(|at| text.get(..at)).map(|before| before.chars().count());
    done(found.map_or(Value::from(-1_i64), Value::from))
}

fn indexof_n(cx: &mut Context, args: &[Value]) -> Outcome {
    let found = search(cx, args)?;
    done(found.into_iter().map(Value::from).collect::<Array>())
}

/// The lower case of one character, as a single character.
pub(super) fn lower_char(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        (Some(one), Some(_)) if c == '\u{130}' => one,
        _ => c,
    }
}

fn upper_char(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

fn mapped(cx: &mut Context, args: &[Value], map: fn(char) -> char) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len())?;
    done(text.chars().map(map).collect::<String>())
}

/// Replaces at each position the first of the patterns that matches there; an empty pattern matches once between
/// two characters.
fn replace_all(cx: &mut Context, text: &str, patterns: &[(&str, &str)]) -> Result<String, BuiltinError> {
    cx.spend(text.len().saturating_mul(patterns.len()))?;
    let mut out = String::new();
    let (mut rest, mut after_empty) = (text, false);
    loop {
        let found = patterns.iter().find(|(old, _)| rest.starts_with(old) && !(old.is_empty() && after_empty));
        if let Some((old, new)) = found {
            cx.spend(new.len())?;
            out.push_str(new);
            rest = rest.get(old.len()..).unwrap_or_default();
            after_empty = old.is_empty();
            if !after_empty {
                continue;
            }
        } else {
            after_empty = false;
            let mut chars = rest.chars();
            match chars.next() {
                Some(c) => out.push(c),
                None => return Ok(out),
            }
            rest = chars.as_str();
        }
    }
}

fn replace(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = replace_all(cx, string(args, 0)?, &[(string(args, 1)?, string(args, 2)?)])?;
    done(text)
}

fn replace_n(cx: &mut Context, args: &[Value]) -> Outcome {
    let patterns = object(args, 0)?;
    let text = string(args, 1)?;
    let mut pairs = Vec::with_capacity(patterns.len());
    for (old, new) in patterns.iter() {
        let old = old.as_str().ok_or_else(|| operand_error(0, "non-string key found in pattern object"))?;
        let new = new.as_str().ok_or_else(|| operand_error(0, "non-string value found in pattern object"))?;
        pairs.push((old, new));
    }
    done(replace_all(cx, text, &pairs)?)
}

/// The parts between separators; without a separator each character.
fn parts<'a>(cx: &mut Context, text: &'a str, separator: &str) -> Result<Vec<&'a str>, BuiltinError> {
    cx.spend(text.len().saturating_mul(2))?;
    if !separator.is_empty() {
        return Ok(text.split(separator).collect());
    }
    Ok(text.char_indices().filter_map(|(at, c)| text.get(at..at + c.len_utf8())).collect())
}

fn split(cx: &mut Context, args: &[Value]) -> Outcome {
    let parts = parts(cx, string(args, 0)?, string(args, 1)?)?;
    // Each part is a string of its own.
    cx.spend_elements(parts.len() as u64)?;
    done(parts.into_iter().map(Value::from).collect::<Array>())
}

fn split_n(cx: &mut Context, args: &[Value]) -> Outcome {
    let all = parts(cx, string(args, 0)?, string(args, 1)?)?;
    let limit = int(args, 2)?;
    let size = usize::try_from(limit.unsigned_abs()).unwrap_or(usize::MAX).min(all.len());
    let range = if limit >= 0 { 0..size } else { all.len() - size..all.len() };
    done(all.get(range).unwrap_or_default().iter().map(|part| Value::from(*part)).collect::<Array>())
}

fn count(cx: &mut Context, args: &[Value]) -> Outcome {
    let (text, part) = (string(args, 0)?, string(args, 1)?);
    cx.spend(text.len() / 8)?;
    done(if part.is_empty() { text.chars().count() + 1 } else { text.matches(part).count() })
}

fn reverse(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len())?;
    done(text.chars().rev().collect::<String>())
}

/// A string, or the strings of an array or a set.
fn one_or_more(args: &[Value], index: usize) -> Result<Vec<&str>, BuiltinError> {
    match any(args, index)? {
        Value::String(text) => Ok(vec![text]),
        Value::Array(_) | Value::Set(_) => strings(args, index),
        _ => Err(type_error(args, index, &["string", "set", "array"])),
    }
}

fn any_match(cx: &mut Context, args: &[Value], holds: fn(&str, &str) -> bool) -> Outcome {
    let (texts, parts) = (one_or_more(args, 0)?, one_or_more(args, 1)?);
    cx.spend(texts.len().saturating_mul(parts.len()))?;
    done(texts.iter().any(|text| parts.iter().any(|part| holds(text, part))))
}

fn substring(cx: &mut Context, args: &[Value]) -> Outcome {
    let (text, start, length) = (string(args, 0)?, int(args, 1)?, int(args, 2)?);
    let start = usize::try_from(start).map_err(|_| failure("negative offset"))?;
    cx.spend(text.len())?;
    let rest = text.chars().skip(start);
    done(match usize::try_from(length) {
        Ok(length) => rest.take(length).collect::<String>(),
        Err(_) => rest.collect(),
    })
}

fn trimmed(cx: &mut Context, args: &[Value], trim: for<'a> fn(&'a str, &str) -> &'a str) -> Outcome {
    let (text, cut) = (string(args, 0)?, string(args, 1)?);
    cx.spend(text.len().saturating_mul(1 + cut.len() / 16))?;
    done(trim(text, cut))
}

fn trim_space(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len())?;
    done(text.trim())
}
