//! `regex.*`.

use regex::Regex;

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::globs;
use super::operand::{any, int, string};
use super::pattern::{compiled, translate};
use crate::value::{Array, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("regex.is_valid", is_valid),
    ("regex.match", matches),
    ("re_match", matches),
    ("regex.split", split),
    ("regex.find_n", find_n),
    ("regex.find_all_string_submatch_n", find_submatches),
    ("regex.replace", replace),
    ("regex.template_match", template_match),
    ("regex.globs_match", globs_match),
];

/// Compiles the pattern and pays for matching it against a text.
fn prepared<'a>(
    cx: &mut Context,
    args: &'a [Value],
    pattern: usize,
    text: usize,
) -> Result<(Regex, &'a str), BuiltinError> {
    let (pattern, text) = (string(args, pattern)?, string(args, text)?);
    cx.spend(text.len().saturating_mul(2))?;
    if pattern.contains("\\B") && !text.is_ascii() {
        return Err(failure("\\B is supported in texts of ASCII only"));
    }
    Ok((compiled(cx, pattern)?, text))
}

fn is_valid(cx: &mut Context, args: &[Value]) -> Outcome {
    let Some(pattern) = any(args, 0)?.as_str() else {
        return done(false);
    };
    if translate(pattern).is_err() {
        return done(false);
    }
    match compiled(cx, pattern) {
        Err(error) if error.is_fatal() => Err(error),
        outcome => done(outcome.is_ok()),
    }
}

fn matches(cx: &mut Context, args: &[Value]) -> Outcome {
    let (regex, text) = prepared(cx, args, 0, 1)?;
    done(regex.is_match(text))
}

fn split(cx: &mut Context, args: &[Value]) -> Outcome {
    let (regex, text) = prepared(cx, args, 0, 1)?;
    if text.is_empty() && !string(args, 0)?.is_empty() {
        return done(vec![Value::from("")]);
    }
    let (mut parts, mut begin, mut end) = (Vec::new(), 0, 0);
    for found in regex.find_iter(text) {
        spend_rest(cx, text, found.end())?;
        end = found.start();
        if found.end() != 0 {
            parts.push(Value::from(text.get(begin..end).unwrap_or_default()));
        }
        begin = found.end();
    }
    if end != text.len() {
        parts.push(Value::from(text.get(begin..).unwrap_or_default()));
    }
    cx.spend(parts.len().saturating_mul(4))?;
    done(parts)
}

/// Pays for one match: the search for the next may read all the rest of the text.
fn spend_rest(cx: &mut Context, text: &str, end: usize) -> Result<(), BuiltinError> {
    cx.spend(8 + text.len().saturating_sub(end) / 16)
}

/// A count where negative means all.
fn limit(args: &[Value]) -> Result<usize, BuiltinError> {
    Ok(usize::try_from(int(args, 2)?).unwrap_or(usize::MAX))
}

fn find_n(cx: &mut Context, args: &[Value]) -> Outcome {
    let limit = limit(args)?;
    let (regex, text) = prepared(cx, args, 0, 1)?;
    let mut all = Vec::new();
    for found in regex.find_iter(text).take(limit) {
        spend_rest(cx, text, found.end())?;
        all.push(Value::from(found.as_str()));
    }
    done(all)
}

fn find_submatches(cx: &mut Context, args: &[Value]) -> Outcome {
    let limit = limit(args)?;
    let (regex, text) = prepared(cx, args, 0, 1)?;
    let mut all = Vec::new();
    for captures in regex.captures_iter(text).take(limit) {
        cx.spend(captures.len().saturating_mul(8))?;
        spend_rest(cx, text, captures.get(0).map_or(0, |whole| whole.end()))?;
        let groups = captures.iter().map(|group| Value::from(group.map_or("", |group| group.as_str())));
        all.push(Value::from(groups.collect::<Array>()));
    }
    done(all)
}

fn replace(cx: &mut Context, args: &[Value]) -> Outcome {
    let (regex, text) = prepared(cx, args, 1, 0)?;
    let template = string(args, 2)?;
    let (mut out, mut last) = (String::new(), 0);
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        let before = out.len();
        cx.spend(template.len())?;
        spend_rest(cx, text, whole.end())?;
        out.push_str(text.get(last..whole.start()).unwrap_or_default());
        captures.expand(template, &mut out);
        last = whole.end();
        cx.spend(out.len() - before)?;
    }
    out.push_str(text.get(last..).unwrap_or_default());
    done(out)
}

fn delimiter(args: &[Value], index: usize, name: &str) -> Result<char, BuiltinError> {
    let text = string(args, index)?;
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(one), None) if one.is_ascii() => Ok(one),
        _ => {
            let size = text.len();
            Err(failure(format!("{name} delimiter has to be exactly one character long but is {size} long")))
        }
    }
}

/// A text in which the parts between delimiters are regular expressions.
fn template_match(cx: &mut Context, args: &[Value]) -> Outcome {
    let (template, text) = (string(args, 0)?, string(args, 1)?);
    let (open, close) = (delimiter(args, 2, "start")?, delimiter(args, 3, "end")?);
    cx.spend(text.len().saturating_mul(2).saturating_add(template.len()))?;
    let pattern = template_pattern(template, open, close)?;
    let regex = compiled(cx, &pattern)?;
    done(regex.is_match(text))
}

fn template_pattern(template: &str, open: char, close: char) -> Result<String, BuiltinError> {
    let unbalanced = || failure(format!("unbalanced braces in {template:?}"));
    let (mut pattern, mut literal, mut inner) = (String::from("^"), String::new(), String::new());
    let mut level = 0_usize;
    for c in template.chars() {
        if c == open {
            level += 1;
            if level == 1 {
                pattern.push_str(&regex::escape(&std::mem::take(&mut literal)));
                continue;
            }
        } else if c == close {
            level = level.checked_sub(1).ok_or_else(unbalanced)?;
            if level == 0 {
                pattern.push_str(&format!("({})", std::mem::take(&mut inner)));
                continue;
            }
        }
        if level == 0 { literal.push(c) } else { inner.push(c) }
    }
    if level != 0 {
        return Err(unbalanced());
    }
    pattern.push_str(&regex::escape(&literal));
    pattern.push('$');
    Ok(pattern)
}

fn globs_match(cx: &mut Context, args: &[Value]) -> Outcome {
    let (first, second) = (string(args, 0)?, string(args, 1)?);
    cx.spend(first.len().saturating_mul(second.len().max(1)))?;
    done(globs::intersect(first, second).map_err(failure)?)
}
