//! Data on stdout, in the form that was asked for. Everything else goes to stderr.

mod harmless;
mod style;
mod table;

use std::cell::RefCell;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::exit::Failure;

use harmless::printable_lines;
pub(crate) use harmless::{printable, printable_json};
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
        Format::Table | Format::Wide => painted(&printable_lines(&text())),
        Format::Json => printable_json(&serde_json::to_string_pretty(&ordered()?).map_err(Failure::failed)?),
        Format::Jsonl => match ordered()? {
            serde_json::Value::Array(items) if items.is_empty() => return Ok(()),
            serde_json::Value::Array(items) => {
                items.iter().map(|item| printable_json(&item.to_string())).collect::<Vec<_>>().join("\n")
            }
            value => printable_json(&value.to_string()),
        },
        Format::Yaml => serde_yaml_ng::to_string(&ordered()?).map_err(Failure::failed)?,
    };
    line(rendered.trim_end())
}

/// What a verb wrote that a program asks.
#[derive(Default)]
pub(crate) struct Written {
    /// On stdout.
    pub printed: String,
    /// On stderr.
    pub said: String,
}

tokio::task_local! {
    static WRITTEN: RefCell<Written>;
}

/// Runs a verb. What it writes comes with its result, and goes nowhere else.
pub(crate) async fn written_by<T>(verb: impl Future<Output = T>) -> (T, Written) {
    let kept = async {
        let done = verb.await;
        (done, WRITTEN.with(RefCell::take))
    };
    WRITTEN.scope(RefCell::default(), kept).await
}

/// Whether a program asks the verb that runs here, so that no person can answer a question.
pub(crate) fn is_for_program() -> bool {
    WRITTEN.try_with(|_| ()).is_ok()
}

/// Standard error.
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match WRITTEN.try_with(|written| written.borrow_mut().said.push_str(&String::from_utf8_lossy(bytes))) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// One line on stdout. A reader that went away is not a failure.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    if WRITTEN.try_with(|written| written.borrow_mut().printed.push_str(&format!("{text}\n"))).is_ok() {
        return Ok(());
    }
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
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
