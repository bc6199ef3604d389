//! The formats of JSON Schema (draft 7 §7.3). An unknown format holds for every text.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::context::{BuiltinError, Context};
use super::pattern::translate;
use super::time_parse::parse;
use super::urls::is_uri;

/// Does a text have a format?
pub(super) fn has_format(cx: &mut Context, format: &str, text: &str) -> Result<bool, BuiltinError> {
    cx.spend(text.len().saturating_mul(8))?;
    let one_of = |layouts: &[&str]| layouts.iter().any(|layout| parse(layout, text).is_ok());
    let braces = text.matches('{').count() == text.matches('}').count();
    Ok(match format {
        "date" => one_of(&["2006-01-02"]),
        "time" => one_of(&["15:04:05", "15:04:05Z07:00"]),
        "date-time" => one_of(&["2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.999999999Z07:00"]),
        "hostname" => is_hostname(text),
        "email" | "idn-email" => is_email(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok() && text.contains(':'),
        "uri" | "iri" => is_uri(text) && text.contains(':') && !text.contains('\\'),
        "uri-reference" | "iri-reference" => is_uri(text) && !text.contains('\\'),
        "uri-template" => is_uri(&text.replace(['{', '}'], "")) && braces && !text.contains('\\'),
        "uuid" => is_uuid(text),
        "regex" => text.is_empty() || translate(text).is_ok_and(|pattern| regex::Regex::new(&pattern).is_ok()),
        "json-pointer" => text.is_empty() || text.starts_with('/') && has_escapes(text),
        "relative-json-pointer" => {
            let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
            rest.len() < text.len() && (rest.is_empty() || rest == "#" || rest.starts_with('/') && has_escapes(rest))
        }
        _ => true,
    })
}

/// Is every `~` of a pointer followed by `0` or `1`?
fn has_escapes(text: &str) -> bool {
    text.split('~').skip(1).all(|part| part.starts_with(['0', '1']))
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() < 256 && text.split('.').all(label)
}

fn is_email(text: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '<' | '>' | '(' | ')' | ',' | ';');
    match text.rsplit_once('@') {
        Some((user, host)) => !user.is_empty() && user.chars().all(plain) && !user.contains('@') && is_hostname(host),
        None => false,
    }
}

fn is_uuid(text: &str) -> bool {
    let sizes: Vec<usize> = text.split('-').map(str::len).collect();
    sizes == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
