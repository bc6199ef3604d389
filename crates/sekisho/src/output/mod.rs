//! Data on stdout, in the form that was asked for. Everything else goes to stderr.

mod style;
mod table;

use std::cell::RefCell;
use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::exit::Failure;

pub(crate) use style::{alert, painted};
pub(crate) use table::{Column, table};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: what fits the terminal
    #[default]
    Table,
    /// A table with whole ids and names
    Wide,
    Json,
    /// One line of JSON for each item
    Jsonl,
    Yaml,
}

impl Format {
    pub(crate) const fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Prints one value: `text` for people, the value itself, its members in order of their names, for programs.
pub(crate) fn print(format: Format, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let ordered = || serde_json::to_value(value).map_err(Failure::failed);
    let rendered = match format {
        Format::Table | Format::Wide => painted(&text()),
        Format::Json => serde_json::to_string_pretty(&ordered()?).map_err(Failure::failed)?,
        Format::Jsonl => match ordered()? {
            serde_json::Value::Array(items) if items.is_empty() => return Ok(()),
            serde_json::Value::Array(items) => items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            value => value.to_string(),
        },
        Format::Yaml => serde_yaml_ng::to_string(&ordered()?).map_err(Failure::failed)?,
    };
    line(rendered.trim_end())
}

tokio::task_local! {
    /// What is printed by a verb that a program asks.
    static PRINTED: RefCell<String>;
}

/// Runs a verb. What it prints comes with its result, and does not go to stdout.
pub(crate) async fn printed_by<T>(verb: impl Future<Output = T>) -> (T, String) {
    let kept = async {
        let done = verb.await;
        (done, PRINTED.with(RefCell::take))
    };
    PRINTED.scope(RefCell::default(), kept).await
}

/// One line on stdout. A reader that went away is not a failure.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    if PRINTED.try_with(|printed| printed.borrow_mut().push_str(&format!("{text}\n"))).is_ok() {
        return Ok(());
    }
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// What a table shows of a value that may be absent.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The mark of something that is as it should be, or is not.
pub(crate) const fn mark(good: bool) -> &'static str {
    if good { "√" } else { "×" }
}

/// A text from elsewhere, safe for a terminal: control characters are escaped.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() { c.escape_default().collect::<String>() } else { c.to_string() }
                .chars()
                .collect::<Vec<_>>()
        })
        .collect()
}
