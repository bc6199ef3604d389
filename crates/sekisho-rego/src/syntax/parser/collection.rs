//! Arrays, objects, sets and comprehensions.

use super::super::ast::{Body, Span, Term, TermKind};
use super::super::token::Kind;
use super::{Mark, Parsed, Parser};

impl Parser<'_> {
    pub(super) fn array(&mut self) -> Parsed<Term> {
        let start = self.bump();
        if self.is(Kind::RBrack) {
            self.bump();
            return Ok(Term::new(self.since(start), TermKind::Array(Vec::new())));
        }
        let comprehension = !self.eat(Kind::Comma);
        let head = self.term()?;
        let before = self.mark();
        if comprehension
            && self.is(Kind::Or)
            && let Some(body) = self.comprehension_body(before, Kind::RBrack)?
        {
            return self
                .node(self.since(start), TermKind::ArrayComprehension { head: Box::new(head), body: Box::new(body) });
        }
        let terms = self.elements(head, Kind::RBrack)?;
        self.node(self.since(start), TermKind::Array(terms))
    }

    /// The elements from the first, which is read already, to the closing sign.
    fn elements(&mut self, first: Term, end: Kind) -> Parsed<Vec<Term>> {
        let mut terms = vec![self.rest_of_term(first, false)?];
        if !self.is(end) {
            self.expect(Kind::Comma, &format!("expected \",\" or \"{}\"", end.name()))?;
            self.rest_of_list(end, &mut terms)?;
        }
        self.bump();
        Ok(terms)
    }

    /// The body after `|` with the closing sign; absent if it is a union inside of a list: `[a | b, c]`.
    fn comprehension_body(&mut self, before: Mark, end: Kind) -> Parsed<Option<Body>> {
        self.bump();
        match self.body(end) {
            Ok(body) => {
                self.bump();
                Ok(Some(body))
            }
            Err(_) if self.is(Kind::Comma) => {
                self.back(before);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// An object, a set or a comprehension of either.
    pub(super) fn braces(&mut self) -> Parsed<Term> {
        let start = self.bump();
        if self.is(Kind::RBrace) {
            self.bump();
            return Ok(Term::new(self.since(start), TermKind::Object(Vec::new())));
        }
        let comprehension = !self.eat(Kind::Comma);
        let head = self.term()?;
        let before = self.mark();
        if comprehension
            && self.is(Kind::Or)
            && let Some(body) = self.comprehension_body(before, Kind::RBrace)?
        {
            return self
                .node(self.since(start), TermKind::SetComprehension { head: Box::new(head), body: Box::new(body) });
        }
        let head = self.rest_of_term(head, false)?;
        match self.kind() {
            Kind::Colon => self.object(start, head, comprehension),
            Kind::RBrace | Kind::Comma => {
                let mut terms = vec![head];
                if self.eat(Kind::Comma) {
                    self.rest_of_list(Kind::RBrace, &mut terms)?;
                }
                self.bump();
                self.node(self.since(start), TermKind::Set(terms))
            }
            _ => self.unexpected("non-terminated set"),
        }
    }

    fn object(&mut self, start: Span, key: Term, comprehension: bool) -> Parsed<Term> {
        self.bump();
        let value = self.term()?;
        let before = self.mark();
        if comprehension && self.is(Kind::Or) {
            self.bump();
            match self.body(Kind::RBrace) {
                Ok(body) => {
                    self.bump();
                    let kind = TermKind::ObjectComprehension {
                        key: Box::new(key),
                        value: Box::new(value),
                        body: Box::new(body),
                    };
                    return self.node(self.since(start), kind);
                }
                Err(_) if self.is(Kind::Comma) => self.back(before),
                Err(error) => return Err(error),
            }
        }
        let value = self.rest_of_term(value, false)?;
        let mut pairs = vec![(key, value)];
        loop {
            match self.kind() {
                Kind::RBrace => break,
                Kind::Comma => {
                    self.bump();
                }
                _ if pairs.len() == 1 => return self.unexpected("non-terminated object"),
                _ => return self.unexpected("expected \",\" or \"}\""),
            }
            if self.is(Kind::RBrace) {
                break;
            }
            let key = self.term_in(false)?;
            self.expect(Kind::Colon, "expected \":\"")?;
            let value = self.term_in(false)?;
            pairs.push((key, value));
        }
        self.bump();
        self.node(self.since(start), TermKind::Object(pairs))
    }
}
