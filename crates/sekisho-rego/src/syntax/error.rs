//! Errors of the parser and the checker.

use std::fmt;
use std::sync::Arc;

use super::ast::{Source, Span};

/// The classes of errors, named as OPA names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The text is not of the language.
    Parse,
    /// The module is well formed but cannot be compiled.
    Compile,
    /// A function is unknown or is called with arguments of a wrong number or type; a comparison cannot hold.
    Type,
    /// A variable is not bound by any expression.
    UnsafeVar,
    /// A rule depends on itself.
    Recursion,
}

impl Code {
    /// OPA's name of the class.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Parse => "rego_parse_error",
            Code::Compile => "rego_compile_error",
            Code::Type => "rego_type_error",
            Code::UnsafeVar => "rego_unsafe_var_error",
            Code::Recursion => "rego_recursion_error",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with a module or query, and where.
#[derive(Clone, Debug)]
pub struct Error {
    /// The class.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hints: Vec<String>,
    /// The file's name.
    pub file: Arc<str>,
    /// The place.
    pub span: Span,
    /// The line of the text that holds the place's first character.
    pub line: String,
}

impl Error {
    /// An error at a place of a source.
    pub fn new(code: Code, source: &Source, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hints: Vec::new(),
            file: source.file.clone(),
            span,
            line: line_of(&source.text, span),
        }
    }

    /// The same error with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The message with the hints, in OPA's form.
    pub fn full_message(&self) -> String {
        match self.hints.as_slice() {
            [] => self.message.clone(),
            [hint] => format!("{} (hint: {hint})", self.message),
            hints => format!("{} (hints: {})", self.message, hints.join(", ")),
        }
    }

    /// Several lines: place, class and message, then the line of the text with the place underlined.
    pub fn render(&self) -> String {
        let Span { start, end, column, .. } = self.span;
        let rest = self.line.chars().count().saturating_sub(column.saturating_sub(1) as usize).max(1);
        let width = ((end.saturating_sub(start)).max(1) as usize).min(rest);
        let indent: String = self
            .line
            .chars()
            .take(column.saturating_sub(1) as usize)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!("{self}\n\t{}\n\t{indent}{}", self.line, "^".repeat(width))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { line, column, .. } = self.span;
        write!(f, "{}:{line}:{column}: {}: {}", self.file, self.code, self.full_message())
    }
}

impl std::error::Error for Error {}

/// The line that holds the span's first byte, shortened to what a reader can take in.
fn line_of(text: &str, span: Span) -> String {
    const LONGEST: usize = 400;
    let start = (span.start as usize).min(text.len());
    let before = text.get(..start).unwrap_or("");
    let begin = before.rfind('\n').map_or(0, |at| at + 1);
    let rest = text.get(begin..).unwrap_or("");
    let line = rest.split('\n').next().unwrap_or("").trim_end_matches('\r');
    line.chars().take(LONGEST).collect()
}
