//! The words and signs of a text, for tools that look at it before it is parsed.

use super::lexer::lex;
use super::token::{Kind, Token};

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordKind {
    /// A name or a keyword.
    Name,
    /// An operator, a bracket, a comma.
    Sign,
    /// A string, or a part of a template.
    Text,
    /// A number.
    Number,
}

/// A word or sign of a text.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// What it is.
    pub kind: WordKind,
    /// As it is written.
    pub text: &'a str,
    /// Its line, from 1.
    pub line: u32,
}

/// All words up to the first text that is none; the parser reports that one.
#[must_use]
pub fn words(text: &str) -> Vec<Word<'_>> {
    readable(text, &lex(text).tokens).collect()
}

/// The words of a text that is split into tokens.
pub(super) fn readable<'t>(text: &'t str, tokens: &[Token]) -> impl Iterator<Item = Word<'t>> + Clone {
    let readable = tokens.iter().take_while(|token| !matches!(token.kind, Kind::Illegal | Kind::Eof));
    readable.map(move |token| Word { kind: kind(token.kind), text: token.span.text(text), line: token.span.line })
}

fn kind(kind: Kind) -> WordKind {
    match kind {
        Kind::Number => WordKind::Number,
        Kind::String
        | Kind::RawString
        | Kind::TemplatePart
        | Kind::TemplateEnd
        | Kind::RawTemplatePart
        | Kind::RawTemplateEnd => WordKind::Text,
        Kind::Ident => WordKind::Name,
        other if other.is_word() => WordKind::Name,
        _ => WordKind::Sign,
    }
}
