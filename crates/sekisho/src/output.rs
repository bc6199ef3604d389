//! Data on stdout, in the form that was asked for. Everything else goes to stderr.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::exit::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

/// Prints one value: `text` for people, the value itself, its members in order of their names, for programs.
pub(crate) fn print(format: Format, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let ordered = || serde_json::to_value(value).map_err(Failure::failed);
    let rendered = match format {
        Format::Table => text(),
        Format::Json => serde_json::to_string_pretty(&ordered()?).map_err(Failure::failed)?,
        Format::Yaml => serde_yaml_ng::to_string(&ordered()?).map_err(Failure::failed)?,
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

/// The title of a column, and what of a row stands in it.
pub(crate) type Column<T> = (&'static str, fn(&T) -> String);

/// A line for each row.
pub(crate) fn table<T>(rows: &[T], columns: &[Column<T>]) -> String {
    if rows.is_empty() {
        return "none".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|(title, _)| *title));
    for row in rows {
        table.add_row(columns.iter().map(|(_, cell)| cell(row)));
    }
    table.to_string()
}

/// What a table shows of a value that may be absent.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
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
