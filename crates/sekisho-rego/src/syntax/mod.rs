//! From a text to a syntax tree and back.

mod advice;
pub mod ast;
pub mod error;
pub mod format;
pub(crate) mod forms;
mod lexer;
pub mod metadata;
mod module;
mod parser;
mod strict;
mod strings;
mod token;
mod words;

pub use module::{Scanned, parse_bytes, parse_module};
pub use parser::{MAX_TEXT, Options, parse_query};
pub use words::{Word, WordKind, words};

#[cfg(test)]
pub(crate) mod opa_cases;
