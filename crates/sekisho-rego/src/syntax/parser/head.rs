//! Heads of rules.

use super::super::ast::{Head, HeadKind, Name, RefPart, Span, Term, TermKind};
use super::super::token::Kind;
use super::{MAX_PATH, Parsed, Parser};

/// A head as written, before it is decided what the rule defines.
pub(super) struct WrittenHead {
    pub(super) span: Span,
    pub(super) name: Name,
    pub(super) path: Vec<RefPart>,
    pub(super) parameters: Option<Vec<Term>>,
    pub(super) contains: Option<Term>,
    pub(super) value: Option<Term>,
    pub(super) assign: bool,
}

impl Parser<'_> {
    /// Refuses a keyword used as a rule's name, as in `every := 1`.
    pub(super) fn keyword_as_rule_name(&self, default: bool) -> Parsed<()> {
        let kind = self.kind();
        let follower = self.following().map(|token| self.effective(token.kind));
        let common = matches!(follower, Some(Kind::Assign | Kind::Unify));
        let word = matches!(follower, Some(Kind::If | Kind::Contains));
        let paren = follower == Some(Kind::LParen);
        let named = match kind {
            Kind::Every | Kind::If | Kind::In | Kind::Some | Kind::As => common || word || paren,
            Kind::Package | Kind::Import => common || paren,
            Kind::Not | Kind::LogicalAnd | Kind::LogicalOr => common || word,
            Kind::Contains => word,
            _ => return Ok(()),
        };
        if named || default {
            return self.error(self.span(), format!("{} keyword cannot be used for rule name", kind.name()));
        }
        Ok(())
    }

    pub(super) fn head(&mut self, default: bool) -> Parsed<WrittenHead> {
        let start = self.span();
        let name = Name { span: start, text: self.word(start) };
        self.bump();
        self.no_operator_after_name()?;
        let mut head = WrittenHead {
            span: start,
            name,
            path: Vec::new(),
            parameters: None,
            contains: None,
            value: None,
            assign: false,
        };
        self.head_path(&mut head)?;
        match self.kind() {
            Kind::Contains => {
                if head.parameters.is_some() {
                    return self.unexpected(
                        "the contains keyword can only be used with multi-value rule definitions (e.g., p contains x)",
                    );
                }
                self.bump();
                head.contains = Some(self.term_in(true)?);
            }
            Kind::Unify | Kind::Assign => {
                head.assign = self.is(Kind::Assign);
                self.bump();
                if matches!(self.kind(), Kind::Eof | Kind::LBrace) && self.token().kind == Kind::Eof {
                    let what = if default { "default rule" } else { "rule" };
                    return self.unexpected(&format!("expected {what} value term (e.g., {} := 1)", head.name.text));
                }
                head.value = Some(self.term_in(true)?);
            }
            _ => {}
        }
        head.span = self.since(start);
        Ok(head)
    }

    fn no_operator_after_name(&self) -> Parsed<()> {
        let operator = matches!(
            self.kind(),
            Kind::Add
                | Kind::Sub
                | Kind::Mul
                | Kind::Quo
                | Kind::Rem
                | Kind::And
                | Kind::Or
                | Kind::Equal
                | Kind::Neq
                | Kind::Gt
                | Kind::Gte
                | Kind::Lt
                | Kind::Lte
        );
        if operator { self.unexpected("") } else { Ok(()) }
    }

    /// The parts and parameters after the name; white space may stand before the first.
    fn head_path(&mut self, head: &mut WrittenHead) -> Parsed<()> {
        let mut first = true;
        while first || !self.token().spaced {
            match self.kind() {
                Kind::Dot | Kind::LBrack => {
                    if head.parameters.is_some() {
                        return self.unexpected("expected rule value or body after the parameters");
                    }
                    if head.path.len() >= MAX_PATH {
                        return self.error(self.span(), format!("path too long: more than {MAX_PATH} elements"));
                    }
                    let part = self.part()?;
                    head.path.push(part);
                }
                Kind::LParen if head.parameters.is_none() => {
                    self.bump();
                    head.parameters = Some(self.deeper(|p| p.list(Kind::RParen))?);
                    self.expect(Kind::RParen, "expected )")?;
                }
                _ => break,
            }
            first = false;
        }
        Ok(())
    }
}

impl WrittenHead {
    /// Decides what the rule defines. `body` says whether a body without `if` follows, `has_if` whether `if` does.
    pub(super) fn decide(mut self, has_if: bool, body: bool, default: bool) -> Head {
        let kind = if let Some(element) = self.contains.take() {
            HeadKind::Set { element, contains: true }
        } else if let Some(parameters) = self.parameters.take().filter(|list| !list.is_empty()) {
            HeadKind::Function { parameters, value: self.value.take() }
        } else if self.is_bracket_set(has_if, body, default) {
            match self.path.pop() {
                Some(part) => HeadKind::Set { element: part.term, contains: false },
                None => HeadKind::Value(None),
            }
        } else {
            HeadKind::Value(self.value.take())
        };
        Head { span: self.span, name: self.name, path: self.path, kind, assign: self.assign }
    }

    /// `p[x] {…}` and `p[x]` define a set, in version 0.
    fn is_bracket_set(&self, has_if: bool, _body: bool, default: bool) -> bool {
        !has_if && !default && self.value.is_none() && self.path.len() == 1
    }
}

/// Whether a term has no variables.
pub(super) fn is_ground(term: &Term) -> bool {
    match &term.kind {
        TermKind::Null | TermKind::Bool(_) | TermKind::Number(_) | TermKind::String { .. } => true,
        TermKind::Array(terms) | TermKind::Set(terms) => terms.iter().all(is_ground),
        TermKind::Object(pairs) => pairs.iter().all(|(key, value)| is_ground(key) && is_ground(value)),
        TermKind::Ref { path, .. } => path.iter().all(|part| is_ground(&part.term)),
        _ => false,
    }
}
