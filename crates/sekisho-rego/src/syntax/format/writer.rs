//! Lines, indentation and comments.

use super::super::ast::{Comment, Import, Module, Span, Version};
use super::super::lexer::lex;
use super::super::token::{Kind, Token};

/// Writes a module line by line. Every token is written with the line it has in the source, so that comments find
/// their places: after the last token of their line, or on a line of their own before the next token.
pub(super) struct Writer<'a> {
    pub(super) module: &'a Module,
    tokens: Vec<Token>,
    out: String,
    level: usize,
    /// Whether something is written on the current line.
    pub(super) inline: bool,
    /// The line of the last token or comment in the source.
    pub(super) at_line: u32,
    /// The index of the next comment.
    next: usize,
    /// Whether a comment had no place.
    pub(super) misplaced: bool,
    line_starts: Vec<u32>,
    /// Whether bodies of version 0 get `if`, and partial sets `contains`, as the imports allow it.
    pub(super) use_if: bool,
    pub(super) use_contains: bool,
}

/// A state to go back to.
pub(super) struct Saved {
    length: usize,
    level: usize,
    inline: bool,
    at_line: u32,
    next: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(module: &'a Module) -> Self {
        let text = &module.source.text;
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(starts).filter_map(|at| u32::try_from(at).ok()).collect();
        let v1 = module.rego_v1 || module.version == Version::V1;
        let imported = |word: &str| v1 || module.imports.iter().any(|import| brings(import, word));
        Self {
            use_if: imported("if"),
            use_contains: imported("contains"),
            module,
            tokens: lex(text).tokens,
            out: String::with_capacity(text.len()),
            level: 0,
            inline: false,
            at_line: 0,
            next: 0,
            misplaced: false,
            line_starts,
        }
    }

    /// The text of a span in the source.
    pub(super) fn source(&self, span: Span) -> &'a str {
        span.text(&self.module.source.text)
    }

    fn line_of(&self, at: u32) -> u32 {
        u32::try_from(self.line_starts.partition_point(|start| *start <= at)).unwrap_or(u32::MAX)
    }

    /// The line a span ends on.
    pub(super) fn end_line_of(&self, span: Span) -> u32 {
        self.line_of(span.end.saturating_sub(1).max(span.start))
    }

    /// The line of the first token of a kind from a place on.
    pub(super) fn line_of_next(&self, kind: Kind, from: u32) -> u32 {
        let start = self.tokens.partition_point(|token| token.span.start < from);
        let token = self.tokens.get(start..).unwrap_or_default().iter().find(|token| token.kind == kind);
        token.map_or(self.at_line, |token| token.span.line)
    }

    pub(super) fn save(&self) -> Saved {
        let (level, inline, at_line, next) = (self.level, self.inline, self.at_line, self.next);
        Saved { length: self.out.len(), level, inline, at_line, next }
    }

    pub(super) fn back(&mut self, saved: &Saved) {
        self.out.truncate(saved.length);
        self.level = saved.level;
        self.inline = saved.inline;
        self.at_line = saved.at_line;
        self.next = saved.next;
        self.misplaced = false;
    }

    fn comment(&self) -> Option<&'a Comment> {
        self.module.comments.get(self.next)
    }

    /// Writes a token that stands on `line` of the source.
    pub(super) fn token(&mut self, text: &str, line: u32) {
        self.comments_before(line);
        if !self.inline {
            self.out.extend(std::iter::repeat_n('\t', self.level));
            self.inline = true;
        }
        self.out.push_str(text);
        self.at_line = self.at_line.max(line);
    }

    /// Writes a text without a place of its own in the source.
    pub(super) fn write(&mut self, text: &str) {
        let line = self.at_line;
        self.token(text, line);
    }

    /// Writes what is at a span of the source as it is.
    pub(super) fn verbatim(&mut self, span: Span) {
        self.token(self.source(span), span.line);
        self.at_line = self.at_line.max(self.end_line_of(span));
    }

    /// Writes the comments above a line, each on a line of its own.
    pub(super) fn comments_before(&mut self, line: u32) {
        let mut last = None;
        let mut metadata = false;
        while let Some(comment) = self.comment().filter(|comment| comment.span.line < line) {
            if self.inline {
                self.misplaced = true;
                self.next += 1;
                continue;
            }
            let start = comment.span.column == 1 && comment.text.trim().starts_with("METADATA");
            let gap = last.is_some_and(|last| comment.span.line > last + 1);
            if gap || metadata && start {
                self.out.push('\n');
                metadata = false;
            }
            metadata |= start;
            self.comment_line(comment);
            last = Some(comment.span.line);
        }
        if last.is_some_and(|last| line > last + 1) && line != u32::MAX {
            self.out.push('\n');
        }
    }

    /// The same above a closing sign: without a blank line before it.
    pub(super) fn comments_before_end(&mut self, line: u32) {
        self.comments_before(line);
        if self.out.ends_with("\n\n") {
            self.out.pop();
        }
    }

    fn comment_line(&mut self, comment: &Comment) {
        self.out.extend(std::iter::repeat_n('\t', self.level));
        self.out.push('#');
        self.out.push_str(comment.text.trim_end());
        self.out.push('\n');
        self.next += 1;
        self.at_line = self.at_line.max(comment.span.line);
    }

    /// The line of the next comment, if there is one above `line`.
    pub(super) fn comment_above(&self, line: u32) -> Option<u32> {
        self.comment().map(|comment| comment.span.line).filter(|found| *found < line)
    }

    /// Ends the line, after the comment that stands at its end in the source.
    pub(super) fn end_line(&mut self) {
        if !self.inline {
            return;
        }
        if let Some(comment) = self.comment().filter(|comment| comment.span.line == self.at_line) {
            self.out.push_str(" #");
            self.out.push_str(comment.text.trim_end());
            self.next += 1;
        }
        self.out.push('\n');
        self.inline = false;
    }

    pub(super) fn blank_line(&mut self) {
        self.end_line();
        if !self.out.ends_with("\n\n") && !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    pub(super) fn deeper(&mut self) {
        self.level += 1;
    }

    pub(super) fn shallower(&mut self) {
        self.level = self.level.saturating_sub(1);
    }

    /// Passes over the comments inside of a span that is written as it is.
    pub(super) fn skip_comments(&mut self, span: Span) {
        while self.comment().is_some_and(|comment| comment.span.start < span.end) {
            self.next += 1;
        }
    }

    /// Passes over the comments up to the end of a line.
    pub(super) fn skip_comments_to(&mut self, line: u32) {
        while self.comment().is_some_and(|comment| comment.span.line <= line) {
            self.next += 1;
        }
    }

    /// Ends the line without the comment that may stand at its end.
    pub(super) fn line_without_comment(&mut self) {
        self.out.push('\n');
        self.inline = false;
    }

    /// What is written so far.
    pub(super) fn text(&self) -> &str {
        &self.out
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        self.end_line();
        if self.comment().is_some() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
        self.comments_before(u32::MAX);
        let length = self.out.trim_end().len();
        self.out.truncate(length);
        self.out.push('\n');
        self.out
    }
}

/// Whether an import makes a word a keyword.
fn brings(import: &Import, word: &str) -> bool {
    let path: Vec<&str> = import.path.iter().map(|name| &*name.text).collect();
    match path.as_slice() {
        ["future", "keywords"] => true,
        ["future", "keywords", found] => *found == word,
        _ => false,
    }
}
