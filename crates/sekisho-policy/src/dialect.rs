//! The version of Rego of a file, and the depth of its expressions: both follow from its tokens, before
//! anything parses it.
//!
//! Read as v0, `allow if { … }` is an unconditional `allow` and a rule named `if`. So a file counts as v0 only when
//! nothing in it could be v1; a file that has forms of both is refused with a line of each.

use regorus::unstable::{Expr, Lexer, Module, Parser, Rule, RuleHead, Source as Contents, Token, TokenKind};

use crate::refs::reference;
use crate::source::{PolicyError, Source};

/// Deepest expression: brackets, and links of one chain of operators, fields or calls, taken together. The engine
/// follows them on its stack.
const MAX_DEPTH: usize = 100;
/// Most brackets within each other.
const MAX_BRACKETS: usize = 14;

/// The version of Rego that a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    V0,
    V1,
}

impl Dialect {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0 => "v0",
            Self::V1 => "v1",
        }
    }
}

/// A token as the scans below see it.
struct Word<'a> {
    kind: TokenKind,
    text: &'a str,
    line: u32,
}

impl Word<'_> {
    fn is(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }

    fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Ident && self.text == word
    }

    fn opens(&self) -> bool {
        self.kind == TokenKind::Symbol && matches!(self.text, "{" | "[" | "(" | "set(")
    }

    fn depth_after(&self, depth: usize) -> usize {
        if self.opens() { depth + 1 } else { depth.saturating_sub(usize::from(self.closes())) }
    }

    fn closes(&self) -> bool {
        self.kind == TokenKind::Symbol && matches!(self.text, "}" | "]" | ")")
    }

    /// Whether an expression continues behind it.
    fn continues(&self) -> bool {
        match self.kind {
            TokenKind::Symbol => !self.closes(),
            TokenKind::Ident => {
                matches!(self.text, "in" | "contains" | "not" | "some" | "every" | "as" | "with" | "if" | "else")
            }
            _ => false,
        }
    }
}

/// The version of a file. Two forms that no version has together are an error with both lines.
pub(crate) fn dialect(source: &Source) -> Result<Dialect, PolicyError> {
    let contents = contents(source)?;
    let words = words(&contents);
    depth_is_bounded(source, &words)?;
    let (modern, old) = (modern_form(&words), old_form(&words));
    let (Some((old_line, old_form)), file) = (old, &source.name) else { return Ok(Dialect::V1) };
    let mixed = |line: u32, form: &str| PolicyError::Mixed {
        file: file.clone(),
        line,
        form: form.to_owned(),
        old_line,
        old_form: old_form.to_owned(),
    };
    if let Some((line, form)) = modern {
        return Err(mixed(line, form));
    }
    let parsed = Parser::new(&contents).and_then(|mut parser| parser.parse());
    match parsed.as_ref().ok().and_then(bare_rule) {
        Some(line) => Err(mixed(line, "a rule without a body, which always holds")),
        None => Ok(Dialect::V0),
    }
}

fn contents(source: &Source) -> Result<Contents, PolicyError> {
    Contents::from_contents(source.name.clone(), source.text.clone()).map_err(|error| PolicyError::At {
        file: source.name.clone(),
        line: 1,
        reason: error.to_string(),
    })
}

/// All tokens up to the first malformed one; the parser reports that one.
fn words(contents: &Contents) -> Vec<Word<'_>> {
    let mut lexer = Lexer::new(contents);
    let mut out = Vec::new();
    while let Ok(Token(kind, span)) = lexer.next_token() {
        if kind == TokenKind::Eof {
            break;
        }
        let text = contents.contents().get(span.start as usize..span.end as usize).unwrap_or_default();
        out.push(Word { kind, text, line: span.line });
    }
    out
}

/// The first line that only v1 has, or that v0 reads as something else.
fn modern_form(words: &[Word<'_>]) -> Option<(u32, &'static str)> {
    let (mut depth, mut before): (usize, Option<&Word<'_>>) = (0, None);
    for (at, word) in words.iter().enumerate() {
        let field = before.is_some_and(|before| before.is("."));
        // The builtin `contains` is called in the place of a value; at the beginning of a statement it is a rule of
        // that name.
        let called = words.get(at + 1).is_some_and(|next| next.is("("));
        let value = depth > 0 || before.is_some_and(|before| before.line == word.line && before.continues());
        let form = match word.text {
            _ if word.kind != TokenKind::Ident || field => None,
            "if" => Some("`if`"),
            "in" => Some("`in`"),
            "every" => Some("`every`"),
            "contains" if !called || !value => Some("`contains`"),
            "rego" | "future" if before.is_some_and(|before| before.is_word("import")) => Some("an import of keywords"),
            _ => None,
        };
        if let Some(form) = form {
            return Some((word.line, form));
        }
        depth = word.depth_after(depth);
        before = Some(word);
    }
    None
}

/// The first line with a body that has no `if`, which only v0 has.
fn old_form(words: &[Word<'_>]) -> Option<(u32, &'static str)> {
    let (mut depth, mut every) = (0usize, false);
    let mut before: Option<&Word<'_>> = None;
    for word in words {
        every |= depth == 0 && word.is_word("every");
        if word.is("{") && depth == 0 {
            match before {
                Some(before) if before.is_word("else") => return Some((word.line, "an `else` without `if`")),
                Some(before) if before.continues() => {}
                Some(_) if every => every = false,
                _ => return Some((word.line, "a body without `if`")),
            }
        }
        depth = word.depth_after(depth);
        before = Some(word);
    }
    None
}

/// The first rule of a v0 file that holds on any input, though it may only look so: a word alone, or an `allow` without
/// a body.
fn bare_rule(module: &Module) -> Option<u32> {
    let named = |rule: &Rule| {
        let Rule::Spec { span, head, bodies } = rule else { return None };
        let bare = match head {
            RuleHead::Compr { refr, assign, .. } => assign.is_none() || is_allow(refr),
            RuleHead::Func { assign, .. } => assign.is_none(),
            RuleHead::Set { key, .. } => key.is_none(),
        };
        (bare && bodies.is_empty()).then_some(span.line)
    };
    module.policy.iter().find_map(|rule| named(rule))
}

fn is_allow(refr: &Expr) -> bool {
    reference(refr).is_some_and(|path| path == ["allow"])
}

/// The parser reads some brackets twice, and nested ones twice each time; and nothing in it bounds chains: `1 + 1 + …`
/// is a tree as deep as it is long.
fn depth_is_bounded(source: &Source, words: &[Word<'_>]) -> Result<(), PolicyError> {
    let (mut chains, mut total) = (vec![0usize], 0usize);
    for (at, word) in words.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| words.get(at));
        let separate = match word.kind {
            TokenKind::Symbol => matches!(word.text, "," | ";"),
            TokenKind::Ident => matches!(word.text, "if" | "else" | "with" | "as"),
            _ => false,
        };
        let next_line = before.is_some_and(|before| before.line < word.line && !before.continues());
        if let Some(chain) = chains.last_mut() {
            // A line that begins with `not` is a statement of its own.
            if separate || next_line && (word.is_word("not") || !word.is_link(before)) {
                total = total.saturating_sub(std::mem::take(chain));
            } else if word.is_link(before) {
                (*chain, total) = (*chain + 1, total + 1);
            }
        }
        if word.opens() {
            chains.push(0);
        } else if word.closes() && chains.len() > 1 {
            total = total.saturating_sub(chains.pop().unwrap_or_default());
        }
        let limit = match (chains.len() > MAX_BRACKETS, total > MAX_DEPTH) {
            (true, _) => MAX_BRACKETS,
            (_, true) => MAX_DEPTH,
            _ => continue,
        };
        let reason = format!("an expression is more than {limit} steps deep; give its parts names of their own");
        return Err(PolicyError::At { file: source.name.clone(), line: word.line, reason });
    }
    Ok(())
}

impl Word<'_> {
    /// Whether it makes the tree one step deeper: an operator, a field, an index or a call.
    fn is_link(&self, before: Option<&Word<'_>>) -> bool {
        match self.kind {
            TokenKind::Symbol if self.closes() => false,
            TokenKind::Symbol if self.is("{") => false,
            TokenKind::Symbol if self.opens() => before.is_some_and(|before| {
                before.closes() || matches!(before.kind, TokenKind::Ident | TokenKind::String | TokenKind::RawString)
            }),
            TokenKind::Symbol => !matches!(self.text, "," | ";"),
            TokenKind::Ident => matches!(self.text, "in" | "not"),
            // `1 -1` is a difference.
            TokenKind::Number => self.text.starts_with('-'),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
