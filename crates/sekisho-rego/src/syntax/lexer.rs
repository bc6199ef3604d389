//! From a text to tokens.

use std::sync::Arc;

use super::ast::{Comment, Span};
use super::token::{Kind, Token};

/// What the lexer found.
pub(crate) struct Lexed {
    /// The tokens; the last one is [`Kind::Eof`].
    pub(crate) tokens: Vec<Token>,
    pub(crate) comments: Vec<Comment>,
    /// The first text that is not a token; its token is [`Kind::Illegal`] and the last but one.
    pub(crate) error: Option<(Span, String)>,
}

/// Splits a text into tokens.
pub(crate) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer {
        text,
        at: if text.starts_with('\u{feff}') { 3 } else { 0 },
        line: 1,
        column: 1,
        templates: Vec::new(),
        spaced: false,
        newline: false,
        out: Lexed { tokens: Vec::with_capacity(text.len() / 4 + 1), comments: Vec::new(), error: None },
    };
    lexer.run();
    lexer.out
}

/// A template whose expression is being read.
struct Template {
    raw: bool,
    /// The braces open inside of the expression.
    depth: u32,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    column: u32,
    templates: Vec<Template>,
    spaced: bool,
    newline: bool,
    out: Lexed,
}

impl Lexer<'_> {
    fn run(&mut self) {
        loop {
            let start = self.place();
            let Some(first) = self.peek() else {
                self.push(Kind::Eof, start);
                return;
            };
            if matches!(first, ' ' | '\t' | '\r' | '\n') {
                self.next();
                self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
                self.spaced = true;
                self.newline |= first == '\n';
            } else if first == '#' {
                self.comment(start);
            } else {
                match self.token(first, start) {
                    Ok(kind) => self.push(kind, start),
                    Err(message) => {
                        self.push(Kind::Illegal, start);
                        self.out.error = Some((self.finished(start), message));
                        let end = self.place();
                        self.push(Kind::Eof, end);
                        return;
                    }
                }
                if self.out.tokens.last().is_some_and(|token| token.kind == Kind::RBrace) && self.closes_template() {
                    continue;
                }
            }
        }
    }

    /// After a closing brace: goes on with the text of a template if the brace closed its expression.
    fn closes_template(&mut self) -> bool {
        let Some(template) = self.templates.last_mut() else { return false };
        if let Some(depth) = template.depth.checked_sub(1) {
            template.depth = depth;
            return false;
        }
        let raw = template.raw;
        self.templates.pop();
        self.template_text(raw);
        true
    }

    #[inline]
    fn peek(&self) -> Option<char> {
        match self.text.as_bytes().get(self.at) {
            Some(byte) if byte.is_ascii() => Some(char::from(*byte)),
            _ => self.text.get(self.at..).and_then(|rest| rest.chars().next()),
        }
    }

    /// Goes on over bytes that are characters of one line, as long as they are of a kind.
    #[inline]
    fn skip(&mut self, of: impl Fn(u8) -> bool) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii() && **byte != b'\n' && of(**byte)).count();
        self.at += count;
        self.column = self.column.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn eat(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.next();
        }
        found
    }

    fn place(&self) -> Span {
        let at = u32::try_from(self.at).unwrap_or(u32::MAX);
        Span { start: at, end: at, line: self.line, column: self.column }
    }

    fn finished(&self, start: Span) -> Span {
        Span { end: u32::try_from(self.at).unwrap_or(u32::MAX), ..start }
    }

    fn push(&mut self, kind: Kind, start: Span) {
        let span = self.finished(start);
        self.out.tokens.push(Token { kind, span, spaced: self.spaced, newline: self.newline });
        self.spaced = false;
        self.newline = false;
    }

    fn comment(&mut self, start: Span) {
        self.skip(|_| true);
        while self.peek().is_some_and(|c| c != '\n') {
            self.next();
        }
        let span = self.finished(start);
        let text = span.text(self.text).trim_end_matches('\r');
        let text: Arc<str> = Arc::from(text.get(1..).unwrap_or(""));
        self.out.comments.push(Comment { span, text });
        self.spaced = true;
    }

    fn token(&mut self, first: char, start: Span) -> Result<Kind, String> {
        if first.is_ascii_alphabetic() || first == '_' {
            self.skip(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return Ok(Kind::of_word(self.finished(start).text(self.text)));
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        self.next();
        match first {
            '"' => self.string(),
            '`' => self.raw_string(),
            '$' => self.template_start(),
            '{' => {
                if let Some(template) = self.templates.last_mut() {
                    template.depth = template.depth.saturating_add(1);
                }
                Ok(Kind::LBrace)
            }
            _ => self.sign(first),
        }
    }

    fn sign(&mut self, first: char) -> Result<Kind, String> {
        Ok(match first {
            '}' => Kind::RBrace,
            '[' => Kind::LBrack,
            ']' => Kind::RBrack,
            '(' => Kind::LParen,
            ')' => Kind::RParen,
            ',' => Kind::Comma,
            ';' => Kind::Semicolon,
            '.' => Kind::Dot,
            '+' => Kind::Add,
            '-' => Kind::Sub,
            '*' => Kind::Mul,
            '/' => Kind::Quo,
            '%' => Kind::Rem,
            '&' => Kind::And,
            '|' => Kind::Or,
            ':' if self.eat('=') => Kind::Assign,
            ':' => Kind::Colon,
            '=' if self.eat('=') => Kind::Equal,
            '=' => Kind::Unify,
            '<' if self.eat('=') => Kind::Lte,
            '<' => Kind::Lt,
            '>' if self.eat('=') => Kind::Gte,
            '>' => Kind::Gt,
            '!' if self.eat('=') => Kind::Neq,
            '!' => return Err("illegal ! character".into()),
            '\0' => return Err("illegal null character".into()),
            '\u{feff}' => return Err("illegal byte-order mark".into()),
            '\u{a0}' => return Err("illegal non-breaking space character, use a regular space instead".into()),
            _ => return Err("illegal token".into()),
        })
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.next();
        }
        self.at > start
    }

    fn number(&mut self) -> Result<Kind, String> {
        self.digits();
        if self.eat('.') && !self.digits() {
            return Err("expected fraction".into());
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.next();
            if matches!(self.peek(), Some('+' | '-')) {
                self.next();
            }
            if !self.digits() {
                return Err("expected exponent".into());
            }
        }
        if self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err("illegal number format".into());
        }
        Ok(Kind::Number)
    }

    fn string(&mut self) -> Result<Kind, String> {
        loop {
            self.skip(|byte| !matches!(byte, b'"' | b'\\' | 0));
            match self.next_in_text("non-terminated string")? {
                '\n' => return Err("non-terminated string".into()),
                '"' => return Ok(Kind::String),
                '\\' => self.escape(false)?,
                _ => {}
            }
        }
    }

    fn next_in_text(&mut self, ended: &str) -> Result<char, String> {
        match self.next() {
            None => Err(ended.into()),
            Some('\0') => Err("illegal null character".into()),
            Some('\u{feff}') => Err("illegal byte-order mark".into()),
            Some(c) => Ok(c),
        }
    }

    fn escape(&mut self, template: bool) -> Result<(), String> {
        match self.next() {
            Some('\\' | '"' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Ok(()),
            Some('{') if template => Ok(()),
            Some('u') => {
                for _ in 0..4 {
                    if !self.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
                        return Err("illegal escape sequence".into());
                    }
                    self.next();
                }
                Ok(())
            }
            _ => Err("illegal escape sequence".into()),
        }
    }

    fn raw_string(&mut self) -> Result<Kind, String> {
        while self.next_in_text("non-terminated string")? != '`' {}
        Ok(Kind::RawString)
    }

    /// After `$`: the quote. The token of the text is pushed by [`Self::template_text`].
    fn template_start(&mut self) -> Result<Kind, String> {
        let raw = match self.next() {
            Some('"') => false,
            Some('`') => true,
            _ => return Err("illegal $ character".into()),
        };
        self.scan_template(raw)
    }

    /// Goes on with a template after the brace that closed an expression.
    fn template_text(&mut self, raw: bool) {
        let start = self.place();
        match self.scan_template(raw) {
            Ok(kind) => self.push(kind, start),
            Err(message) => {
                self.push(Kind::Illegal, start);
                if self.out.error.is_none() {
                    self.out.error = Some((self.finished(start), message));
                }
                self.at = self.text.len();
            }
        }
    }

    /// Reads up to the next expression or the end. The token holds the signs around its text.
    fn scan_template(&mut self, raw: bool) -> Result<Kind, String> {
        loop {
            match (self.next_in_text("non-terminated string")?, raw) {
                ('\n', false) => return Err("non-terminated string".into()),
                ('"', false) => return Ok(Kind::TemplateEnd),
                ('`', true) => return Ok(Kind::RawTemplateEnd),
                ('{', _) => {
                    self.templates.push(Template { raw, depth: 0 });
                    return Ok(if raw { Kind::RawTemplatePart } else { Kind::TemplatePart });
                }
                ('\\', false) => self.escape(true)?,
                ('\\', true) if self.peek() == Some('{') => {
                    self.next();
                }
                _ => {}
            }
        }
    }
}
