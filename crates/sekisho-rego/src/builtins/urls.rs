//! `urlquery.*` and `uri.*`, with the rules of Go's `net/url`.

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::encoding::text_of;
use super::operand::{any, items, object, string, type_error};
use crate::value::{Object, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("urlquery.encode", encode),
    ("urlquery.decode", decode),
    ("urlquery.encode_object", encode_object),
    ("urlquery.decode_object", decode_object),
    ("uri.parse", parse),
    ("uri.is_valid", is_valid),
];

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

fn escaped(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            byte if unreserved(byte) => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Resolves `%XX`, and `+` where it stands for a space.
fn unescaped(text: &str, plus: bool) -> Result<Vec<u8>, BuiltinError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                match (digit(bytes.next()), digit(bytes.next())) {
                    (Some(high), Some(low)) => out.extend(u8::try_from(high * 16 + low)),
                    _ => return Err(failure("invalid URL escape")),
                }
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(byte),
        }
    }
    Ok(out)
}

pub(super) fn encode(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len().saturating_mul(3))?;
    let mut out = String::new();
    escaped(text, &mut out);
    done(out)
}

fn decode(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len())?;
    done(text_of(&unescaped(text, true)?))
}

fn encode_object(cx: &mut Context, args: &[Value]) -> Outcome {
    let wrong = || type_error(args, 0, &["string", "string array", "string set"]);
    let mut pairs = Vec::new();
    for (key, value) in object(args, 0)?.iter() {
        let key = key.as_str().ok_or_else(wrong)?;
        match value {
            Value::String(text) => pairs.push((key, &**text)),
            collection => {
                for item in items(collection).ok_or_else(wrong)? {
                    pairs.push((key, item.as_str().ok_or_else(wrong)?));
                }
            }
        }
    }
    let mut out = String::new();
    for (key, value) in pairs {
        cx.spend((key.len() + value.len()).saturating_mul(3))?;
        if !out.is_empty() {
            out.push('&');
        }
        escaped(key, &mut out);
        out.push('=');
        escaped(value, &mut out);
    }
    done(out)
}

fn decode_object(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len().saturating_mul(4))?;
    let mut pairs = Vec::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        if part.contains(';') {
            return Err(failure("invalid semicolon separator in query"));
        }
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        pairs.push((text_of(&unescaped(key, true)?), text_of(&unescaped(value, true)?)));
    }
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let group = |run: &[(Value, Value)]| {
        let key = run.first().map_or(Value::Null, |(key, _)| key.clone());
        (key, Value::from(run.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>()))
    };
    done(Object::from_vec(pairs.chunk_by(|a, b| a.0 == b.0).map(group).collect()))
}

fn is_valid(cx: &mut Context, args: &[Value]) -> Outcome {
    let Some(text) = any(args, 0)?.as_str() else {
        return done(false);
    };
    cx.spend(text.len().saturating_mul(2))?;
    done(!text.is_empty() && parts(text).is_ok())
}

fn parse(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len().saturating_mul(4))?;
    let members = parts(text).map_err(|what| failure(format!("parse {}: {what}", Value::from(text))))?;
    let defined = members.into_iter().filter(|(_, value)| value.as_str() != Some(""));
    done(defined.map(|(key, value)| (Value::from(key), value)).collect::<Object>())
}

type Parts = Vec<(&'static str, Value)>;

/// What a request is sent with: the host with its port, the path in its escaped form, and the query.
pub(super) fn request_parts(text: &str) -> Result<(String, String, String), BuiltinError> {
    parts(text).map_err(|what| failure(format!("parse {}: {what}", Value::from(text))))?;
    let (rest, _) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (_, after) = rest.split_once("//").unwrap_or(("", rest));
    let end = after.find('/').unwrap_or(after.len());
    let (authority, path) = after.split_at_checked(end).unwrap_or((after, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:@[]/%".contains(c);
    let path = if path.chars().all(allowed) { path.to_owned() } else { path_escaped(&unescaped(path, false)?) };
    Ok((host.to_owned(), path, query.to_owned()))
}

/// The parts of a URI.
fn parts(text: &str) -> Result<Parts, String> {
    if text.chars().any(|c| c.is_ascii_control()) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let plain = |text: &str| unescaped(text, false).map_err(|error| error.message);
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let mut out = vec![("fragment", text_of(&plain(fragment)?))];
    let (scheme, rest) = scheme(rest)?;
    out.push(("scheme", Value::from(scheme.to_ascii_lowercase())));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    out.push(("raw_query", Value::from(query)));
    if !rest.starts_with('/') {
        if !scheme.is_empty() {
            return Ok(out);
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    let mut path = rest;
    if let Some(after) = rest.strip_prefix("//")
        && (!scheme.is_empty() || !rest.starts_with("///"))
    {
        let end = after.find('/').unwrap_or(after.len());
        let (authority, rest) = after.split_at_checked(end).unwrap_or((after, ""));
        path = rest;
        let (host, port) = host_and_port(authority)?;
        out.push(("hostname", text_of(&plain(host)?)));
        out.push(("port", Value::from(port)));
    }
    let decoded = plain(path)?;
    let raw = if path_escaped(&decoded) == path { text_of(&decoded) } else { Value::from(path) };
    out.push(("path", text_of(&decoded)));
    out.push(("raw_path", raw));
    Ok(out)
}

/// Does Go's parser accept a text as a URI or a reference?
pub(super) fn is_uri(text: &str) -> bool {
    parts(text).is_ok()
}

/// A path in the form that Go gives it by default.
fn path_escaped(path: &[u8]) -> String {
    let mut out = String::new();
    for byte in path {
        let kept = unreserved(*byte) || matches!(byte, b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@');
        if kept {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok(text.split_once(':').unwrap_or(("", text))),
            _ => return Ok(("", text)),
        }
    }
    Ok(("", text))
}

fn host_and_port(authority: &str) -> Result<(&str, &str), String> {
    let host = match authority.rsplit_once('@') {
        None => authority,
        Some((user, host)) => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
            if !user.chars().all(allowed) || unescaped(user, false).is_err() {
                return Err("net/url: invalid userinfo".to_owned());
            }
            host
        }
    };
    let (name, port) = match host.strip_prefix('[') {
        Some(inner) => {
            let (name, after) = inner.rsplit_once(']').ok_or("missing ']' in host")?;
            (name, after)
        }
        None => host.rfind(':').and_then(|at| host.split_at_checked(at)).unwrap_or((host, "")),
    };
    let digits = port.strip_prefix(':').unwrap_or_default();
    if !(port.is_empty() || port.starts_with(':') && digits.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("invalid port {port:?} after host"));
    }
    let allowed = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"%".contains(c);
    if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        return Err(format!("invalid character {wrong:?} in host name"));
    }
    let ascii_escape = |part: &&str| !part.starts_with("25") && part.starts_with(|c: char| matches!(c, '0'..='7'));
    if let Some(part) = name.split('%').skip(1).find(ascii_escape).filter(|_| !host.starts_with('[')) {
        return Err(format!("invalid URL escape \"%{}\"", part.get(..2).unwrap_or(part)));
    }
    Ok((name, digits))
}
