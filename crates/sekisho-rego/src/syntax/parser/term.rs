//! Terms and operators.

use std::sync::Arc;

use super::super::ast::{InfixOp, Span, Term, TermKind};
use super::super::strings::unescape;
use super::super::token::Kind;
use super::statement::inner_text;
use super::{Parsed, Parser};

impl Parser<'_> {
    /// A term with operators and `in`; with `pairs`, `k, v in xs` as well.
    pub(super) fn term_in(&mut self, pairs: bool) -> Parsed<Term> {
        self.deeper(|p| {
            let first = p.term()?;
            p.rest_of_term(first, pairs)
        })
    }

    /// As [`Self::term_in`], of a reference whose head is a keyword.
    pub(super) fn word_term_in(&mut self) -> Parsed<Term> {
        self.deeper(|p| {
            let head = p.variable()?;
            let first = p.reference(head)?;
            p.rest_of_term(first, true)
        })
    }

    /// The operators after a term that is read already.
    pub(super) fn rest_of_term(&mut self, first: Term, pairs: bool) -> Parsed<Term> {
        let mut left = self.operators(first, 1)?;
        loop {
            if pairs && self.is(Kind::Comma) {
                let mark = self.mark();
                self.bump();
                if let Ok(middle) = self.relation()
                    && self.is(Kind::In)
                {
                    self.bump();
                    let collection = self.relation()?;
                    left = self.membership(Some(left), middle, collection)?;
                    continue;
                }
                self.back(mark);
                return Ok(left);
            }
            if !self.is(Kind::In) || self.starts_reference() {
                return Ok(left);
            }
            self.bump();
            let collection = self.relation()?;
            left = self.membership(None, left, collection)?;
        }
    }

    fn membership(&self, key: Option<Term>, value: Term, collection: Term) -> Parsed<Term> {
        let span = self.since(key.as_ref().unwrap_or(&value).span);
        let (key, value) = (key.map(Box::new), Box::new(value));
        self.node(span, TermKind::In { key, value, collection: Box::new(collection) })
    }

    fn relation(&mut self) -> Parsed<Term> {
        let first = self.term()?;
        self.operators(first, 1)
    }

    /// The operators that bind at least as tightly as `least`.
    fn operators(&mut self, first: Term, least: u8) -> Parsed<Term> {
        let mut left = first;
        while let Some(op) = infix(self.kind()).filter(|op| op.precedence() >= least) {
            let op_span = self.bump();
            let next = self.term()?;
            let right = self.operators(next, op.precedence() + 1)?;
            let span = self.since(left.span);
            let (left_side, right) = (Box::new(left), Box::new(right));
            left = self.node(span, TermKind::Infix { op, op_span, left: left_side, right })?;
        }
        Ok(left)
    }

    /// A term without operators.
    pub(super) fn term(&mut self) -> Parsed<Term> {
        self.deeper(Self::term_at)
    }

    fn term_at(&mut self) -> Parsed<Term> {
        let start = self.span();
        let kind = self.kind();
        let scalar = match kind {
            Kind::Null => TermKind::Null,
            Kind::True => TermKind::Bool(true),
            Kind::False => TermKind::Bool(false),
            _ => return self.other_term(kind, start),
        };
        self.bump();
        self.reference(Term::new(start, scalar))
    }

    fn other_term(&mut self, kind: Kind, start: Span) -> Parsed<Term> {
        let head = match kind {
            Kind::Sub => {
                let next = self.following().map(|token| self.effective(token.kind));
                if matches!(next, Some(Kind::Ident | Kind::Contains)) {
                    self.bump();
                    let head = self.variable()?;
                    let operand = self.reference(head)?;
                    let span = self.since(start);
                    return self.node(span, TermKind::Minus(Box::new(operand)));
                }
                self.number()?
            }
            Kind::Number | Kind::Dot => self.number()?,
            Kind::String | Kind::RawString => self.string()?,
            Kind::TemplatePart | Kind::TemplateEnd | Kind::RawTemplatePart | Kind::RawTemplateEnd => self.template()?,
            Kind::Ident | Kind::Contains => self.variable()?,
            Kind::LogicalAnd | Kind::LogicalOr if self.is_called() => self.variable()?,
            Kind::LBrack => self.array()?,
            Kind::LBrace => self.braces()?,
            Kind::LParen => {
                self.bump();
                let mut inner = self.term_in(true)?;
                if !self.is(Kind::RParen) {
                    if self.is(Kind::Illegal) {
                        return self.unexpected("");
                    }
                    return self.error(self.span(), "non-terminated expression");
                }
                self.bump();
                inner.parens = true;
                inner.span = self.since(start);
                inner
            }
            _ => return self.unexpected(""),
        };
        self.reference(head)
    }

    fn is_called(&self) -> bool {
        self.following().is_some_and(|token| !token.spaced && token.kind == Kind::LParen)
    }

    /// The current word as a variable.
    pub(super) fn variable(&mut self) -> Parsed<Term> {
        let span = self.bump();
        let text = self.text(span);
        if text == "_" {
            let number = self.wildcards;
            self.wildcards = number.saturating_add(1);
            return Ok(Term::new(span, TermKind::Wildcard(number)));
        }
        Ok(Term::new(span, TermKind::Var(self.word(span))))
    }

    fn number(&mut self) -> Parsed<Term> {
        let start = self.span();
        let mut text = String::new();
        if self.eat(Kind::Sub) {
            text.push('-');
            if !matches!(self.kind(), Kind::Number | Kind::Dot) {
                return self.unexpected("expected number");
            }
        }
        if self.eat(Kind::Dot) {
            text.push_str("0.");
            if !self.is(Kind::Number) {
                return self.unexpected("expected number");
            }
        }
        let digits = self.text(self.span());
        let fraction = text.ends_with('.');
        let leading_zero = digits.len() > 1
            && digits.starts_with('0')
            && !matches!(digits.as_bytes().get(1), Some(b'.' | b'e' | b'E'));
        if !fraction && leading_zero {
            return self.unexpected("expected number without leading zero");
        }
        if fraction && digits.contains('.') {
            return self.unexpected("invalid number");
        }
        if !in_range(digits) {
            return self.error(self.span(), "number too big");
        }
        text.push_str(digits);
        self.bump();
        Ok(Term::new(self.since(start), TermKind::Number(Arc::from(text))))
    }

    fn string(&mut self) -> Parsed<Term> {
        let raw = self.is(Kind::RawString);
        let span = self.bump();
        let inner = inner_text(self.text(span));
        let value = if raw { Some(inner.into()) } else { unescape(inner, false) };
        match value {
            Some(value) => Ok(Term::new(span, TermKind::String { value: Arc::from(value), raw })),
            None => self.error(span, format!("illegal string literal: {}", self.text(span))),
        }
    }
}

/// Whether the exponent is one that arithmetic can hold: as in OPA, at most four digits or so.
fn in_range(digits: &str) -> bool {
    let Some(at) = digits.find(['e', 'E']) else { return true };
    let exponent = digits.get(at + 1..).unwrap_or("").trim_start_matches(['+', '-']).trim_start_matches('0');
    exponent.len() <= 9
}

fn infix(kind: Kind) -> Option<InfixOp> {
    Some(match kind {
        Kind::Equal => InfixOp::Equal,
        Kind::Neq => InfixOp::NotEqual,
        Kind::Lt => InfixOp::Less,
        Kind::Lte => InfixOp::LessEqual,
        Kind::Gt => InfixOp::Greater,
        Kind::Gte => InfixOp::GreaterEqual,
        Kind::Or => InfixOp::Union,
        Kind::And => InfixOp::Intersection,
        Kind::Add => InfixOp::Add,
        Kind::Sub => InfixOp::Subtract,
        Kind::Mul => InfixOp::Multiply,
        Kind::Quo => InfixOp::Divide,
        Kind::Rem => InfixOp::Remainder,
        _ => return None,
    })
}
