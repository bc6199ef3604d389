//! References and calls.

use super::super::ast::{RefPart, Term, TermKind};
use super::super::token::Kind;
use super::{Parsed, Parser};

impl Parser<'_> {
    /// What goes on directly after a term: `.a`, `[b]` and `(c)`.
    pub(super) fn reference(&mut self, head: Term) -> Parsed<Term> {
        let mut term = head;
        let mut path = Vec::new();
        let mut called = false;
        while !self.token().spaced {
            match self.kind() {
                Kind::Dot | Kind::LBrack => {
                    if path.is_empty() {
                        self.may_start(&term)?;
                    }
                    called = false;
                    let part = self.part()?;
                    path.push(part);
                }
                Kind::LParen if !called => {
                    let function = self.with_path(term, std::mem::take(&mut path))?;
                    term = self.call(function)?;
                    called = true;
                }
                _ => break,
            }
        }
        self.with_path(term, path)
    }

    fn with_path(&self, head: Term, mut path: Vec<RefPart>) -> Parsed<Term> {
        path.shrink_to_fit();
        let Some(last) = path.last() else { return Ok(head) };
        let end = if last.dot { head.span.to(last.term.span) } else { self.since(head.span) };
        self.node(end, TermKind::Ref { head: Box::new(head), path })
    }

    fn may_start(&self, head: &Term) -> Parsed<()> {
        match &head.kind {
            TermKind::Null
            | TermKind::Bool(_)
            | TermKind::Number(_)
            | TermKind::String { .. }
            | TermKind::Template { .. }
            | TermKind::Ref { .. } => {
                self.error(head.span, format!("illegal ref (head cannot be {})", head.kind.name()))
            }
            _ => Ok(()),
        }
    }

    /// `.a` or `[b]`.
    pub(super) fn part(&mut self) -> Parsed<RefPart> {
        if self.eat(Kind::Dot) {
            if self.token().spaced || !self.is_reference_word() {
                return self.unexpected("expected identifier");
            }
            let span = self.bump();
            let value = self.word(span);
            return Ok(RefPart { term: Term::new(span, TermKind::String { value, raw: false }), dot: true });
        }
        self.bump();
        let term = self.term_in(true)?;
        self.expect(Kind::RBrack, "expected ]")?;
        Ok(RefPart { term, dot: false })
    }

    fn call(&mut self, function: Term) -> Parsed<Term> {
        if function.parens || !matches!(function.kind, TermKind::Var(_) | TermKind::Wildcard(_) | TermKind::Ref { .. })
        {
            return self.error(function.span, format!("illegal call (cannot call {})", function.kind.name()));
        }
        let start = function.span;
        self.bump();
        let arguments = self.list(Kind::RParen)?;
        self.expect(Kind::RParen, "expected )")?;
        let span = self.since(start);
        if arguments.is_empty() && function.as_var().is_some_and(|name| &**name == "set") {
            return Ok(Term::new(span, TermKind::Set(Vec::new())));
        }
        self.node(span, TermKind::Call { function: Box::new(function), arguments })
    }

    /// Terms separated by commas up to `end`, which is not read; a comma may stand before `end`.
    pub(super) fn list(&mut self, end: Kind) -> Parsed<Vec<Term>> {
        let mut terms = Vec::new();
        self.rest_of_list(end, &mut terms)?;
        terms.shrink_to_fit();
        Ok(terms)
    }

    pub(super) fn rest_of_list(&mut self, end: Kind, terms: &mut Vec<Term>) -> Parsed<()> {
        while !self.is(end) {
            terms.push(self.term_in(false)?);
            if self.is(end) {
                break;
            }
            self.expect(Kind::Comma, &format!("expected \",\" or \"{}\"", end.name()))?;
        }
        Ok(())
    }
}
