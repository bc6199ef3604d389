//! What a record keeps of a value: values that may hold a secret are masked, long ones are cut.

use std::borrow::Cow;

/// What is in a record in place of a masked value.
pub const MASK: &str = "***";
/// A record keeps this much of a header; a peer chooses how long they are.
pub(crate) const MAX_KEPT: usize = 2048;

pub(crate) fn is_long(value: &str) -> bool {
    value.len() > MAX_KEPT && value.chars().nth(MAX_KEPT).is_some()
}

/// What a record holds in the place of a query.
pub(crate) fn recorded_query(query: &str) -> String {
    shortened(&masked_query(query)).into_owned()
}

pub(crate) fn shortened(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(MAX_KEPT) {
        None => Cow::Borrowed(value),
        Some((end, _)) => Cow::Owned(format!("{}…", value.get(..end).unwrap_or_default())),
    }
}

/// A query with the names of its parameters and without their values; a parameter without `=` is all value.
pub(crate) fn masked_query(query: &str) -> String {
    let masked = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) => format!("{name}={MASK}"),
        None if parameter.is_empty() => String::new(),
        None => MASK.to_owned(),
    };
    query.split('&').map(masked).collect::<Vec<_>>().join("&")
}

pub(crate) fn is_sensitive(header: &str) -> bool {
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "dpop"]
        .iter()
        .any(|sign| header.contains(sign))
}
