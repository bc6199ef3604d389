//! Parsing of whole modules.

use std::sync::Arc;

use super::advice::advised;
use super::ast::{Comment, Module, Package, Source, Span, Version};
use super::error::{Code, Error};
use super::lexer::Lexed;
use super::parser::statement::Statements;
use super::parser::{Options, Parser, bounded_lex};
use super::words::{Word, readable};
use super::{metadata, strict};

/// Parses a module.
///
/// # Errors
/// What is wrong with the text; at least one error.
pub fn parse_module(file: &str, text: &str, options: Options) -> Result<Module, Vec<Error>> {
    Scanned::new(file, text)?.parse(options)
}

/// A text that is split into words, for those who have to look at these to know how to parse it.
pub struct Scanned {
    source: Arc<Source>,
    lexed: Lexed,
}

impl Scanned {
    /// Splits the text of a module.
    ///
    /// # Errors
    /// Where the text is too long.
    pub fn new(file: &str, text: &str) -> Result<Scanned, Vec<Error>> {
        let source = Arc::new(Source { file: Arc::from(file), text: Arc::from(text) });
        let lexed = bounded_lex(&source)?;
        Ok(Scanned { source, lexed })
    }

    /// All words up to the first text that is none; [`Scanned::parse`] reports that one.
    pub fn words(&self) -> impl Iterator<Item = Word<'_>> + Clone {
        readable(&self.source.text, &self.lexed.tokens)
    }

    /// Parses the module.
    ///
    /// # Errors
    /// What is wrong with the text; at least one error.
    pub fn parse(self, options: Options) -> Result<Module, Vec<Error>> {
        let Scanned { source, lexed } = self;
        let mut parser = Parser::new(&source, &lexed, options);
        let parsed = parser.module().map_err(|error| vec![advised(*error, &source, &lexed.tokens)])?;
        finish(&source, parsed, lexed.comments, options)
    }
}

/// Parses a module of any bytes.
///
/// # Errors
/// What is wrong with the text, bytes that are not UTF-8 among it.
pub fn parse_bytes(file: &str, bytes: &[u8], options: Options) -> Result<Module, Vec<Error>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse_module(file, text, options),
        Err(error) => {
            let text = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
            let line = u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX).saturating_add(1);
            let last = text.rsplit('\n').next().unwrap_or("");
            let column = u32::try_from(last.chars().count()).unwrap_or(u32::MAX).saturating_add(1);
            let at = u32::try_from(text.len()).unwrap_or(u32::MAX);
            let source = Source { file: Arc::from(file), text: Arc::from(&*text) };
            let span = Span { start: at, end: at, line, column };
            Err(vec![Error::new(Code::Parse, &source, span, "illegal utf-8 character")])
        }
    }
}

fn finish(
    source: &Arc<Source>,
    parsed: Statements,
    comments: Vec<Comment>,
    options: Options,
) -> Result<Module, Vec<Error>> {
    let Statements { package, imports, rules, rego_v1, mut errors } = parsed;
    let package = package.unwrap_or(Package { span: Span::default(), path: Vec::new() });
    let mut module = Module {
        source: source.clone(),
        version: options.version,
        rego_v1,
        package,
        imports,
        rules,
        annotations: Vec::new(),
        annotation_errors: Vec::new(),
        comments,
    };
    if errors.is_empty() && (rego_v1 || options.version == Version::V1) {
        errors.extend(strict::check(&module));
    }
    if errors.is_empty() {
        let (annotations, found) = metadata::attach(&module);
        module.annotations = annotations;
        if options.annotations {
            errors = found;
        } else {
            module.annotation_errors = found;
        }
    }
    if errors.is_empty() { Ok(module) } else { Err(errors) }
}
