//! Tokens.

use super::ast::Span;

/// A token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    /// Whether white space or a comment stands directly before it.
    pub(crate) spaced: bool,
    /// Whether a line ends between the token before it and this one.
    pub(crate) newline: bool,
}

/// The kinds of tokens. Words are keywords only as far as the parser's options and the imports say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Illegal,
    Eof,
    Ident,
    Package,
    Import,
    As,
    Default,
    Else,
    Not,
    Some,
    With,
    Null,
    True,
    False,
    In,
    Every,
    Contains,
    If,
    LogicalAnd,
    LogicalOr,
    Number,
    String,
    RawString,
    /// A text of a template before `{`; the span holds the text only.
    TemplatePart,
    /// The last text of a template.
    TemplateEnd,
    RawTemplatePart,
    RawTemplateEnd,
    LBrack,
    RBrack,
    LBrace,
    RBrace,
    LParen,
    RParen,
    Comma,
    Colon,
    Semicolon,
    Dot,
    Add,
    Sub,
    Mul,
    Quo,
    Rem,
    And,
    Or,
    Unify,
    Assign,
    Equal,
    Neq,
    Lt,
    Gt,
    Lte,
    Gte,
}

impl Kind {
    /// The kind of a word.
    pub(crate) fn of_word(word: &str) -> Kind {
        match word {
            "package" => Kind::Package,
            "import" => Kind::Import,
            "as" => Kind::As,
            "default" => Kind::Default,
            "else" => Kind::Else,
            "not" => Kind::Not,
            "some" => Kind::Some,
            "with" => Kind::With,
            "null" => Kind::Null,
            "true" => Kind::True,
            "false" => Kind::False,
            "in" => Kind::In,
            "every" => Kind::Every,
            "contains" => Kind::Contains,
            "if" => Kind::If,
            "and" => Kind::LogicalAnd,
            "or" => Kind::LogicalOr,
            _ => Kind::Ident,
        }
    }

    /// Whether the kind is a word of the language (of any version).
    pub(crate) fn is_word(self) -> bool {
        !matches!(self, Kind::Ident) && (self.is_base_word() || self.is_future_word())
    }

    /// Whether the word is a keyword in every version.
    pub(crate) fn is_base_word(self) -> bool {
        matches!(
            self,
            Kind::Package
                | Kind::Import
                | Kind::As
                | Kind::Default
                | Kind::Else
                | Kind::Not
                | Kind::Some
                | Kind::With
                | Kind::Null
                | Kind::True
                | Kind::False
        )
    }

    /// Whether the word is a keyword after an import, or in a later version.
    pub(crate) fn is_future_word(self) -> bool {
        matches!(self, Kind::In | Kind::Every | Kind::Contains | Kind::If | Kind::LogicalAnd | Kind::LogicalOr)
    }

    /// The name in messages, the same as OPA's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Illegal => "illegal",
            Kind::Eof => "eof",
            Kind::Ident => "identifier",
            Kind::Package => "package",
            Kind::Import => "import",
            Kind::As => "as",
            Kind::Default => "default",
            Kind::Else => "else",
            Kind::Not => "not",
            Kind::Some => "some",
            Kind::With => "with",
            Kind::Null => "null",
            Kind::True => "true",
            Kind::False => "false",
            Kind::In => "in",
            Kind::Every => "every",
            Kind::Contains => "contains",
            Kind::If => "if",
            Kind::LogicalAnd => "and",
            Kind::LogicalOr => "or",
            Kind::Number => "number",
            Kind::String | Kind::RawString => "string",
            Kind::TemplatePart => "template-string-part",
            Kind::TemplateEnd => "template-string-end",
            Kind::RawTemplatePart => "raw-template-string-part",
            Kind::RawTemplateEnd => "raw-template-string-end",
            other => other.sign_name(),
        }
    }

    fn sign_name(self) -> &'static str {
        match self {
            Kind::LBrack => "[",
            Kind::RBrack => "]",
            Kind::LBrace => "{",
            Kind::RBrace => "}",
            Kind::LParen => "(",
            Kind::RParen => ")",
            Kind::Comma => ",",
            Kind::Colon => ":",
            Kind::Semicolon => ";",
            Kind::Dot => ".",
            Kind::Add => "plus",
            Kind::Sub => "minus",
            Kind::Mul => "mul",
            Kind::Quo => "div",
            Kind::Rem => "rem",
            Kind::And => "and",
            Kind::Or => "or",
            Kind::Unify => "eq",
            Kind::Assign => "assign",
            Kind::Equal => "equal",
            Kind::Neq => "neq",
            Kind::Lt => "lt",
            Kind::Gt => "gt",
            Kind::Lte => "lte",
            Kind::Gte => "gte",
            _ => "unknown",
        }
    }
}
