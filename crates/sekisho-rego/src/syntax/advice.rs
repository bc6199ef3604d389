//! What to write instead: the hint of an error of the parser, found from the tokens around it.
//!
//! The parser itself gives none, because it makes and drops errors while it tries one reading after another. The
//! messages stay OPA's; only a hint is added.

use super::ast::{Source, Span};
use super::error::{Code, Error};
use super::token::{Kind, Token};

/// The error with a hint, if it has none and the tokens tell what was meant.
pub(super) fn advised(error: Error, source: &Source, tokens: &[Token]) -> Error {
    if error.code != Code::Parse || !error.hints.is_empty() {
        return error;
    }
    let at = tokens.partition_point(|token| token.span.start < error.span.start);
    let found = tokens.get(at).filter(|token| token.span.start == error.span.start);
    let hint = found.and_then(|token| Place { source, tokens, at, token: *token }.hint(&error.message));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The token at which the parser stopped, among the others.
struct Place<'a> {
    source: &'a Source,
    tokens: &'a [Token],
    at: usize,
    token: Token,
}

/// What opens, and what closes it.
const PAIRS: [(Kind, Kind); 3] =
    [(Kind::LBrace, Kind::RBrace), (Kind::LBrack, Kind::RBrack), (Kind::LParen, Kind::RParen)];

/// A rule that is complete.
const EXAMPLE: &str = "`allow if input.method == \"GET\"`";

/// An operator that needs a value on both sides.
fn is_operator(kind: Kind) -> bool {
    use Kind::{Add, And, Assign, Equal, Gt, Gte, Lt, Lte, Mul, Neq, Or, Quo, Rem, Sub, Unify};
    matches!(kind, Add | And | Assign | Equal | Gt | Gte | Lt | Lte | Mul | Neq | Or | Quo | Rem | Sub | Unify)
}

impl Place<'_> {
    fn hint(&self, message: &str) -> Option<String> {
        let stopped = message.starts_with("unexpected ") || message.starts_with("non-terminated");
        let own = message.split_once(": ").map(|(_, note)| note);
        match own {
            _ if !stopped => None,
            Some(note) if note.starts_with("expected \\n or ;") => Some(self.between_expressions()),
            Some(note) if !note.starts_with("non-terminated") => self.brackets(),
            _ => self.brackets().or_else(|| self.after_previous()).or_else(|| self.at_token()),
        }
    }

    fn previous(&self) -> Option<Token> {
        self.at.checked_sub(1).and_then(|before| self.tokens.get(before)).copied()
    }

    fn text(&self, span: Span) -> &str {
        span.text(&self.source.text)
    }

    /// What opened last before this token and is not closed.
    fn open(&self) -> Option<(Token, Kind)> {
        let mut open = Vec::new();
        for token in self.tokens.get(..self.at).unwrap_or_default() {
            if let Some((_, closing)) = PAIRS.iter().find(|(opening, _)| *opening == token.kind) {
                open.push((*token, *closing));
            } else if open.last().is_some_and(|(_, closing)| *closing == token.kind) {
                open.pop();
            }
        }
        open.pop()
    }

    /// A bracket that is missing, or that is too much.
    fn brackets(&self) -> Option<String> {
        let closes = PAIRS.iter().any(|(_, closing)| *closing == self.token.kind);
        let ends = self.token.kind == Kind::Eof;
        match self.open() {
            Some((opened, closing)) if ends || closes && closing != self.token.kind => {
                let (sign, line) = (self.text(opened.span), opened.span.line);
                Some(format!("the `{sign}` of line {line} is not closed: write `{}`", closing.name()))
            }
            None if closes => {
                Some(format!("nothing is open here: remove `{}`, or write what it closes", self.token.kind.name()))
            }
            _ => None,
        }
    }

    /// What the token before this one needs behind it.
    fn after_previous(&self) -> Option<String> {
        let previous = self.previous()?;
        let sign = self.text(previous.span);
        Some(match previous.kind {
            kind if is_operator(kind) => {
                format!("`{sign}` needs a value behind it, such as `\"GET\"`, `8` or `input.method`")
            }
            Kind::Comma => "`,` needs another value behind it; remove it if there is none".to_owned(),
            Kind::Semicolon => "`;` separates expressions; remove it if none follows".to_owned(),
            Kind::Package => "name the package, for example `package workload.authz`".to_owned(),
            Kind::Import => "name what is imported, for example `import data.lib`".to_owned(),
            Kind::Not => "`not` needs an expression behind it, for example `not input.headers.team`".to_owned(),
            Kind::If => format!("write the rule's condition behind `if`, for example {EXAMPLE}"),
            Kind::With => "write what is replaced, for example `with input as {\"method\": \"GET\"}`".to_owned(),
            Kind::Default => "name the rule, for example `default allow := false`".to_owned(),
            _ => return None,
        })
    }

    /// What this token is in the way of.
    fn at_token(&self) -> Option<String> {
        let sign = self.text(self.token.span);
        let (previous, follows) = (self.previous().map(|token| token.kind), self.tokens.get(self.at + 1));
        Some(match self.token.kind {
            Kind::Sub if previous == Some(Kind::Ident) && follows.is_some_and(|next| next.kind == Kind::Ident) => {
                "a name has no `-`: write `_` instead".to_owned()
            }
            Kind::Equal if self.open().is_none() => {
                format!("a rule gets its value by `:=`, and a comparison belongs behind `if`: {EXAMPLE}")
            }
            kind if is_operator(kind) => format!("`{sign}` needs a value before it, such as `input.method`"),
            kind if kind.is_word() => format!("`{sign}` is a word of the language: choose another name"),
            _ if self.open().is_none() => format!("a rule begins with its name, for example {EXAMPLE}"),
            _ => "write a value: a constant, a variable, a path such as `input.method`, or a call".to_owned(),
        })
    }

    /// Two expressions without anything between them.
    fn between_expressions(&self) -> String {
        self.brackets().unwrap_or_else(|| {
            let sign = self.text(self.token.span);
            format!("write each expression on a line of its own; is an operator missing before `{sign}`?")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, parse_module, parse_query};
    use crate::syntax::ast::Version;

    fn hint(text: &str) -> String {
        let errors = parse_module("p.rego", text, Options { version: Version::V1, ..Options::default() }).unwrap_err();
        errors[0].hints.join(", ")
    }

    #[test]
    fn errors_of_the_parser_say_what_to_write() {
        for (text, wanted) in [
            ("package p\nallow if {\n\tinput.method ==\n}\n", "`==` needs a value behind it"),
            ("package p\nallow if {\n\t== \"GET\"\n}\n", "`==` needs a value before it"),
            ("package p\nallow if {\n\t< 5\n}\n", "`<` needs a value before it"),
            ("package p\nallow if {\n\tinput.x\n", "the `{` of line 2 is not closed: write `}`"),
            ("package p\nallow if {\n\tcount(input.x == 1\n}\n", "the `(` of line 3 is not closed: write `)`"),
            ("package p\nx := [1, 2\n", "the `[` of line 2 is not closed: write `]`"),
            ("package p\nallow if { input.x }\n}\n", "nothing is open here: remove `}`"),
            ("package p\nallow if { input.x input.y }\n", "is an operator missing before `input`?"),
            ("package p\nallow-x := 1\n", "a name has no `-`"),
            ("package\n", "name the package"),
            ("package p\nimport\n", "name what is imported"),
            ("package p\nallow if\n", "behind `if`"),
            ("package p\nallow if { not }\n", "`not` needs an expression"),
            ("package p\nallow == true\n", "by `:=`"),
            ("package p\n\"allow\"\n", "a rule begins with its name"),
            ("package p\ndefault := false\n", "name the rule"),
        ] {
            let found = hint(text);
            assert!(found.contains(wanted), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn queries_are_advised_as_well() {
        let of = |text: &str| parse_query("q", text, Options::default()).unwrap_err()[0].hints.join(", ");
        assert!(of("input.x;").contains("remove it if none follows"));
        assert!(of("[1").contains("is not closed: write `]`"));
    }
}
