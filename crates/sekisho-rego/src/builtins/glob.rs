//! `glob.*`: patterns with delimiters, which `*` and `?` do not match and `**` does.

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::operand::{any, element_error, string, type_error};
use super::pattern::{MAX_CACHED, compile};
use crate::value::Value;

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] =
    &[("glob.match", glob_match), ("glob.quote_meta", quote_meta)];

/// The deepest nesting of `{…}`.
const MAX_DEPTH: usize = 50;

fn glob_match(cx: &mut Context, args: &[Value]) -> Outcome {
    let pattern = string(args, 0)?;
    let delimiters = match any(args, 1)? {
        Value::Null => Vec::new(),
        Value::Array(all) if all.is_empty() => vec!['.'],
        Value::Array(all) => all.iter().map(|item| delimiter(args, item)).collect::<Result<_, _>>()?,
        _ => return Err(type_error(args, 1, &["array", "null"])),
    };
    let text = string(args, 2)?;
    cx.spend(text.len().saturating_mul(1 + pattern.len() / 8))?;
    let key = (pattern.to_owned(), delimiters);
    if let Some(glob) = cx.caches.globs.get(&key) {
        return done(glob.is_match(text));
    }
    let glob = compile(cx, &translate(pattern, &key.1)?)?;
    let matches = glob.is_match(text);
    if cx.caches.globs.len() >= MAX_CACHED {
        cx.caches.globs.clear();
    }
    cx.caches.globs.insert(key, glob);
    done(matches)
}

/// The compiled pattern of `glob.match`; none where that refuses it.
pub(crate) fn glob_pattern(pattern: &str, delimiters: &[char]) -> Option<regex::Regex> {
    compile(&mut Context::new(0), &translate(pattern, delimiters).ok()?).ok()
}

fn delimiter(args: &[Value], item: &Value) -> Result<char, BuiltinError> {
    let whole = any(args, 1)?;
    let text = item.as_str().ok_or_else(|| element_error(1, whole, item, &["string"]))?;
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(element_error(1, whole, item, &["rune"])),
    }
}

/// The regular expression of a pattern.
fn translate(pattern: &str, delimiters: &[char]) -> Result<String, BuiltinError> {
    let excluded: String = delimiters.iter().map(|c| format!("\\x{{{:x}}}", u32::from(*c))).collect();
    let single = if excluded.is_empty() { ".".to_owned() } else { format!("[^{excluded}]") };
    let mut out = String::from("(?s)\\A(?:");
    let mut chars = pattern.chars().peekable();
    let mut depth = 0;
    while let Some(c) = chars.next() {
        match c {
            '?' => out.push_str(&single),
            '*' if chars.next_if_eq(&'*').is_some() => out.push_str(".*"),
            '*' => out.push_str(&format!("{single}*")),
            '{' if depth >= MAX_DEPTH => return Err(failure("glob pattern is nested too deeply")),
            '{' => {
                depth += 1;
                out.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '[' => out.push_str(&class(&mut chars)?),
            '\\' => literal(chars.next().ok_or_else(|| failure("unexpected end of input after '\\'"))?, &mut out),
            c => literal(c, &mut out),
        }
    }
    if depth > 0 {
        return Err(failure("unexpected end of input: '{' is not closed"));
    }
    out.push_str(")\\z");
    Ok(out)
}

fn literal(c: char, out: &mut String) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// `[abc]`, `[a-z]` or either with `!`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars>) -> Result<String, BuiltinError> {
    let not = if chars.next_if_eq(&'!').is_some() { "^" } else { "" };
    let unexpected = || failure("unexpected end of input");
    let code = |c: char| format!("\\x{{{:x}}}", u32::from(c));
    let first = chars.next().ok_or_else(unexpected)?;
    if chars.next_if_eq(&'-').is_some() {
        let last = chars.next().ok_or_else(unexpected)?;
        if last < first {
            return Err(failure(format!("hi character {last:?} should be greater than lo {first:?}")));
        }
        return match chars.next() {
            Some(']') => Ok(format!("[{not}{}-{}]", code(first), code(last))),
            _ => Err(failure("expected close range character")),
        };
    }
    let mut members = String::new();
    let mut next = Some(first);
    loop {
        match next {
            None => return Err(unexpected()),
            Some(']') if members.is_empty() => return Err(failure("could not parse range")),
            Some(']') => return Ok(format!("[{not}{members}]")),
            Some('\\') => members.push_str(&code(chars.next().ok_or_else(unexpected)?)),
            Some(c) => members.push_str(&code(c)),
        }
        next = chars.next();
    }
}

fn quote_meta(cx: &mut Context, args: &[Value]) -> Outcome {
    let pattern = string(args, 0)?;
    cx.spend(pattern.len())?;
    let mut quoted = String::new();
    for c in pattern.chars() {
        if matches!(c, '*' | '?' | '\\' | '[' | ']' | '{' | '}') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    done(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, delimiters: &[char], text: &str) -> bool {
        regex::Regex::new(&translate(pattern, delimiters).expect("glob")).expect("regex").is_match(text)
    }

    #[test]
    fn stars_stop_at_delimiters() {
        assert!(matches("*.github.com", &['.'], "api.github.com"));
        assert!(!matches("*.github.com", &['.'], "a.b.github.com"));
        assert!(matches("api.**.com", &['.'], "api.cdn.github.com"));
        assert!(matches("***", &['.'], ""));
    }

    #[test]
    fn alternatives_and_classes_match() {
        assert!(matches("{cat,bat,[fr]at}", &[], "rat"));
        assert!(!matches("{cat,bat,[fr]at}", &[], "at"));
        assert!(matches("{**/,}x", &[], "x"));
        assert!(!matches("[!a-c]at", &[], "bat"));
        assert!(translate("[z-a]", &[]).is_err());
    }
}
