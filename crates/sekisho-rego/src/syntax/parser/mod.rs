//! From tokens to a syntax tree.
//!
//! A recursive-descent parser. Where the language needs a look ahead (`{x | …}`: a comprehension or a set with a
//! union; `if {…}`: a body or a set), the parser tries one reading and goes back; what it reads again is counted, so
//! that the work is proportional to the text's length. Nesting is bounded by [`MAX_HEIGHT`].

mod collection;
mod expr;
mod head;
mod logic;
mod reference;
mod rule;
pub(super) mod statement;
mod template;
mod term;

use std::collections::HashMap;
use std::sync::Arc;

use super::advice::advised;
use super::ast::{Body, MAX_HEIGHT, Source, Span, Term, TermKind, Version};
use super::error::{Code, Error};
use super::lexer::{Lexed, lex};
use super::token::{Kind, Token};

/// The longest text that is parsed, in bytes.
pub const MAX_TEXT: usize = 32 << 20;

/// What to do with an expression that is too deep.
const TOO_DEEP: &str = "give the parts of the expression names of their own";

/// The most elements of the path of a package, import or rule.
const MAX_PATH: usize = 256;

/// How often each token may be read again.
const REREAD: usize = 64;

/// How to parse.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The version of the language.
    pub version: Version,
    /// Whether `in`, `every`, `contains` and `if` are keywords without an import in version 0.
    pub future_keywords: bool,
    /// Whether `not` negates a body, and `and` and `or` are keywords, without an import.
    pub logical_keywords: bool,
    /// Whether `not` negates the whole expression after it, its calls included, without an import: where a part is
    /// undefined, the negation holds.
    pub whole_negation: bool,
    /// Whether a metadata block that cannot be read is an error of the module.
    pub annotations: bool,
}

pub(crate) type Parsed<T> = Result<T, Box<Error>>;

/// The words that are keywords beyond those of every version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Keywords {
    member: bool,
    every: bool,
    contains: bool,
    rule_if: bool,
    and: bool,
    or: bool,
    not_bodies: bool,
}

impl Keywords {
    fn of(options: Options) -> Self {
        let future = options.future_keywords || options.version == Version::V1;
        let logical = options.logical_keywords;
        Self {
            member: future,
            every: future,
            contains: future,
            rule_if: future,
            and: logical,
            or: logical,
            not_bodies: logical || options.whole_negation,
        }
    }

    fn all() -> Self {
        Self { member: true, every: true, contains: true, rule_if: true, and: true, or: true, not_bodies: true }
    }
}

/// A place to go back to.
#[derive(Clone, Copy)]
struct Mark {
    at: usize,
    wildcards: u32,
}

pub(crate) struct Parser<'a> {
    source: &'a Source,
    tokens: &'a [Token],
    lexical: Option<&'a (Span, String)>,
    at: usize,
    wildcards: u32,
    keywords: Keywords,
    version: Version,
    depth: u16,
    /// The tokens that may still be read.
    budget: usize,
    /// The words of the text: each is stored once.
    words: HashMap<&'a str, Arc<str>>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(source: &'a Source, lexed: &'a Lexed, options: Options) -> Self {
        Self {
            source,
            tokens: &lexed.tokens,
            lexical: lexed.error.as_ref(),
            at: 0,
            wildcards: 0,
            keywords: Keywords::of(options),
            version: options.version,
            depth: 0,
            budget: lexed.tokens.len().saturating_mul(REREAD).saturating_add(1000),
            words: HashMap::new(),
        }
    }

    fn token(&self) -> Token {
        let end = Token { kind: Kind::Eof, span: Span::default(), spaced: true, newline: true };
        if self.budget == 0 {
            return end;
        }
        self.tokens.get(self.at).or(self.tokens.last()).copied().unwrap_or(end)
    }

    fn span(&self) -> Span {
        self.token().span
    }

    /// The kind of the current token; a word that is not a keyword here is an identifier.
    fn kind(&self) -> Kind {
        self.effective(self.token().kind)
    }

    fn effective(&self, kind: Kind) -> Kind {
        let keyword = match kind {
            Kind::In => self.keywords.member,
            Kind::Every => self.keywords.every,
            Kind::Contains => self.keywords.contains,
            Kind::If => self.keywords.rule_if,
            Kind::LogicalAnd => self.keywords.and,
            Kind::LogicalOr => self.keywords.or,
            _ => true,
        };
        if keyword { kind } else { Kind::Ident }
    }

    fn is(&self, kind: Kind) -> bool {
        self.kind() == kind
    }

    /// The token after the current one.
    fn following(&self) -> Option<Token> {
        self.tokens.get(self.at + 1).copied()
    }

    /// Whether a reference goes on directly after the current token: `if.x` and `if["x"]` are references.
    fn starts_reference(&self) -> bool {
        self.following().is_some_and(|token| !token.spaced && matches!(token.kind, Kind::Dot | Kind::LBrack))
    }

    /// Whether the current token is a name, or a keyword that a reference may hold.
    fn is_reference_word(&self) -> bool {
        self.is(Kind::Ident) || self.kind().is_word()
    }

    fn bump(&mut self) -> Span {
        let span = self.span();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        self.budget = self.budget.saturating_sub(1);
        span
    }

    fn eat(&mut self, kind: Kind) -> bool {
        let found = self.is(kind);
        if found {
            self.bump();
        }
        found
    }

    /// The span from `start` to the end of the last token read.
    fn since(&self, start: Span) -> Span {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        last.map_or(start, |token| start.to(token.span))
    }

    fn text(&self, span: Span) -> &'a str {
        span.text(&self.source.text)
    }

    /// A word of the text, shared with its other places.
    fn word(&mut self, span: Span) -> Arc<str> {
        let text = self.text(span);
        self.words.entry(text).or_insert_with(|| Arc::from(text)).clone()
    }

    fn mark(&self) -> Mark {
        Mark { at: self.at, wildcards: self.wildcards }
    }

    fn back(&mut self, mark: Mark) {
        self.at = mark.at;
        self.wildcards = mark.wildcards;
    }

    fn error<T>(&self, span: Span, message: impl Into<String>) -> Parsed<T> {
        Err(Box::new(Error::new(Code::Parse, self.source, span, message)))
    }

    fn hinted<T>(&self, span: Span, message: impl Into<String>, hint: impl Into<String>) -> Parsed<T> {
        Err(Box::new(Error::new(Code::Parse, self.source, span, message).hint(hint)))
    }

    /// The error for a token that cannot stand here.
    fn unexpected<T>(&self, note: &str) -> Parsed<T> {
        if self.budget == 0 {
            let span = self.tokens.get(self.at).map(|token| token.span).unwrap_or_default();
            return self.error(span, "text too ambiguous: too many tokens are read again and again");
        }
        let kind = self.kind();
        if kind == Kind::Illegal {
            let (span, message) = self.lexical.cloned().unwrap_or((self.span(), "illegal token".into()));
            return self.error(span, message);
        }
        let class = if self.token().kind.is_word() { "keyword" } else { "token" };
        let name = kind.name();
        let message = match note {
            "" => format!("unexpected {name} {class}"),
            note => format!("unexpected {name} {class}: {note}"),
        };
        self.error(self.span(), message)
    }

    fn expect(&mut self, kind: Kind, note: &str) -> Parsed<Span> {
        if self.is(kind) { Ok(self.bump()) } else { self.unexpected(note) }
    }

    /// Runs a parser one level deeper.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_HEIGHT {
            return self.hinted(self.span(), "max parsing recursion depth exceeded", TOO_DEEP);
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// A term, if it is not too high.
    fn node(&self, span: Span, kind: TermKind) -> Parsed<Term> {
        let term = Term::new(span, kind);
        if term.height() > MAX_HEIGHT {
            return self.hinted(span, "max parsing recursion depth exceeded", TOO_DEEP);
        }
        Ok(term)
    }
}

/// Parses a query: expressions separated by `;` or lines.
///
/// # Errors
/// What is wrong with the text; at least one error.
pub fn parse_query(file: &str, text: &str, options: Options) -> Result<Body, Vec<Error>> {
    let source = Arc::new(Source { file: Arc::from(file), text: Arc::from(text) });
    let lexed = bounded_lex(&source)?;
    let parsed = Parser::new(&source, &lexed, options).whole_query();
    parsed.map_err(|error| vec![advised(*error, &source, &lexed.tokens)])
}

/// Splits a text into tokens, if it is not too long.
pub(super) fn bounded_lex(source: &Source) -> Result<Lexed, Vec<Error>> {
    if source.text.len() > MAX_TEXT {
        let message = format!("text too long: {} bytes, at most {MAX_TEXT}", source.text.len());
        return Err(vec![Error::new(Code::Parse, source, Span::default(), message)]);
    }
    Ok(lex(&source.text))
}
