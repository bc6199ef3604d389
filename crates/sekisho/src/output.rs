//! Data on stdout, in the form that was asked for. Everything else goes to stderr.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::exit::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

/// Prints one value: `text` for people, the value itself for programs.
pub(crate) fn print(format: Format, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let rendered = match format {
        Format::Table => text(),
        Format::Json => serde_json::to_string_pretty(value).map_err(Failure::failed)?,
        Format::Yaml => serde_yaml_ng::to_string(value).map_err(Failure::failed)?,
    };
    line(rendered.trim_end())
}

/// One line on stdout. A reader that went away is no failure of ours.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// A table of the named members of each row.
pub(crate) fn table(rows: &[Value], columns: &[(&str, &str)]) -> String {
    if rows.is_empty() {
        return "none".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|(title, _)| *title));
    for row in rows {
        table.add_row(columns.iter().map(|(_, pointer)| cell(row.pointer(pointer))));
    }
    table.to_string()
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join("\n"),
        Some(other) => other.to_string(),
    }
}

/// The text of a member, or nothing.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A text that somebody else chose, safe for a terminal: what controls it is escaped.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() { c.escape_default().collect::<String>() } else { c.to_string() }
                .chars()
                .collect::<Vec<_>>()
        })
        .collect()
}
