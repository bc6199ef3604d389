//! Places of modules as people read them.

use crate::syntax::ast::{Module, Span};

/// The name of what is evaluated where that is not a module.
pub(super) const QUERY: &str = "query";

/// The file and the text of a module, or those of the query.
pub(super) fn source<'m>(modules: &'m [Module], query: &'m str, module: Option<usize>) -> (&'m str, &'m str) {
    match module.and_then(|module| modules.get(module)) {
        Some(module) => (&module.source.file, &module.source.text),
        None => (QUERY, query),
    }
}

/// The text of a place, on one line.
pub(super) fn text(source: &str, span: Span) -> String {
    span.text(source).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Line and column, from 1, behind the last character of a place.
pub(super) fn end(source: &str, span: Span) -> (u32, u32) {
    let text = span.text(source).trim_end();
    let breaks = u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX);
    let last = text.rsplit('\n').next().unwrap_or("");
    let length = u32::try_from(last.chars().count()).unwrap_or(u32::MAX);
    let column = if breaks == 0 { span.column.saturating_add(length) } else { length.saturating_add(1) };
    (span.line.saturating_add(breaks), column)
}
