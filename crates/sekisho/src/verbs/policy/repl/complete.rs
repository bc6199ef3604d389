//! Names that the tabulator completes.

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

/// Commands, documents and functions, in order.
pub(super) struct Names(pub(super) Vec<String>);

impl Names {
    /// The names that continue the text before `at`, and where that text begins.
    pub(super) fn after(&self, line: &str, at: usize) -> (usize, Vec<String>) {
        let before = line.get(..at).unwrap_or(line);
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let start = before.rfind(|c| !is_name(c)).map_or(0, |sign| {
            let length = before.get(sign..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
            sign + length
        });
        let begun = before.get(start..).unwrap_or("");
        let found = self.0.iter().filter(|name| !begun.is_empty() && name.starts_with(begun));
        (start, found.cloned().collect())
    }
}

impl Completer for Names {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.after(line, at))
    }
}

impl Hinter for Names {
    type Hint = String;
}

impl Highlighter for Names {}
impl Validator for Names {}
impl Helper for Names {}
