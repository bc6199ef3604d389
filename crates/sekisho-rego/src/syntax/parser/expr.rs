//! Bodies and expressions.

use super::super::ast::{Body, Expr, ExprKind, Span, Term, TermKind, With};
use super::super::token::Kind;
use super::{Parsed, Parser};

impl Parser<'_> {
    /// Expressions up to `end`, which is not read.
    pub(super) fn body(&mut self, end: Kind) -> Parsed<Body> {
        self.deeper(|p| p.expressions(end))
    }

    fn expressions(&mut self, end: Kind) -> Parsed<Body> {
        let start = self.span();
        if self.is(end) {
            return self.error(start, "found empty body");
        }
        let mut exprs = Vec::new();
        loop {
            exprs.push(self.literal()?);
            if self.eat(Kind::Semicolon) {
                continue;
            }
            if self.is(end) {
                exprs.shrink_to_fit();
                return Ok(Body { span: self.since(start), braces: false, exprs });
            }
            if !self.token().newline || self.is(Kind::Eof) {
                return self.not_separated(end);
            }
        }
    }

    fn not_separated<T>(&self, end: Kind) -> Parsed<T> {
        let failed = self.unexpected(&format!("expected \\n or ; or {}", end.name()));
        let word = self.text(self.span());
        let example = match word {
            "in" => "x in xs",
            "and" => "x and y",
            "or" => "x or y",
            _ => return failed,
        };
        if !self.is(Kind::Ident) {
            return failed;
        }
        failed.map_err(|error| {
            Box::new(error.hint(format!("`import future.keywords.{word}` for `{example}` expressions")))
        })
    }

    /// An expression with its negation and modifiers.
    pub(super) fn literal(&mut self) -> Parsed<Expr> {
        self.deeper(Self::literal_at)
    }

    fn literal_at(&mut self) -> Parsed<Expr> {
        if self.logical_active() {
            if self.is(Kind::LBrace)
                && let Some(expr) = self.logical_braces()?
            {
                return Ok(expr);
            }
            if self.is(Kind::LParen)
                && let Some(operand) = self.logical_group(false)?
            {
                return self.fold_logical(operand);
            }
        }
        let start = self.span();
        if self.kind().is_word() && self.starts_reference() {
            return self.plain(start, false);
        }
        let negated = self.eat(Kind::Not);
        if negated && self.keywords.not_bodies && self.is(Kind::LBrace) {
            let operand = self.not_body(start)?;
            return self.fold_logical(operand);
        }
        match self.kind() {
            Kind::Some if negated => self.unexpected("illegal negation of 'some'"),
            Kind::Every if negated => self.unexpected("illegal negation of 'every'"),
            Kind::Some => self.some(),
            Kind::Every => self.every(),
            _ => self.plain(start, negated),
        }
    }

    /// A term, assignment or unification with its modifiers, and the logical operators after it.
    fn plain(&mut self, start: Span, negated: bool) -> Parsed<Expr> {
        if negated
            && self.keywords.not_bodies
            && self.is(Kind::LParen)
            && let Some(operand) = self.logical_group(true)?
        {
            let not = Expr { span: self.since(start), negated: false, kind: ExprKind::Not(operand), with: Vec::new() };
            return self.fold_logical(implicit(not));
        }
        let mut expr = self.expression()?;
        expr.span = self.since(start);
        let with_at = self.span();
        let with = self.with()?;
        if self.logical_follows() && !with.is_empty() {
            return self.with_on_operand(with_at);
        }
        if negated && self.keywords.not_bodies {
            expr = Expr { span: expr.span, negated: false, kind: ExprKind::Not(implicit(expr)), with };
        } else {
            expr.negated = negated;
            expr.with = with;
        }
        expr.span = self.since(start);
        if self.logical_follows() {
            if !negated && self.text(expr.span).starts_with('{') {
                return self.brace_led_operand(expr.span);
            }
            return self.fold_logical(implicit(expr));
        }
        Ok(expr)
    }

    /// `term`, `term := term` or `term = term`.
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        let start = self.span();
        if self.kind().is_word() && self.starts_reference() {
            return self.expression_from(start, true);
        }
        self.expression_from(start, false)
    }

    fn expression_from(&mut self, start: Span, word: bool) -> Parsed<Expr> {
        let left = if word { self.word_term_in()? } else { self.term_in(true)? };
        let kind = match self.kind() {
            Kind::Assign => {
                self.bump();
                ExprKind::Assign(left, self.term_in(true)?)
            }
            Kind::Unify => {
                self.bump();
                ExprKind::Unify(left, self.term_in(true)?)
            }
            _ => ExprKind::Term(left),
        };
        Ok(Expr { span: self.since(start), negated: false, kind, with: Vec::new() })
    }

    /// `with target as value`, any number of times.
    pub(super) fn with(&mut self) -> Parsed<Vec<With>> {
        let mut all = Vec::new();
        while self.is(Kind::With) && !self.starts_reference() {
            let start = self.bump();
            if !self.is(Kind::Ident) {
                return self.unexpected("expected ident");
            }
            let target = self.term()?;
            if !matches!(target.kind, TermKind::Var(_) | TermKind::Wildcard(_) | TermKind::Ref { .. }) {
                return self.unexpected("expected with target path");
            }
            self.expect(Kind::As, "expected as keyword")?;
            let value = self.term_in(true)?;
            all.push(With { span: self.since(start), target, value });
        }
        Ok(all)
    }

    fn some(&mut self) -> Parsed<Expr> {
        let start = self.bump();
        let mark = self.mark();
        if let Ok(term) = self.term_in(true) {
            match term.kind {
                TermKind::In { key, value, collection } if !term.parens => {
                    let kind = ExprKind::SomeIn { key, value, collection };
                    let with = self.with()?;
                    return Ok(Expr { span: self.since(start), negated: false, kind, with });
                }
                TermKind::Call { .. } | TermKind::Infix { .. } | TermKind::In { .. } | TermKind::Minus(_) => {
                    return self.unexpected("expected `x in xs` or `x, y in xs` expression");
                }
                _ => {}
            }
        }
        self.back(mark);
        let mut names = Vec::new();
        loop {
            if !self.is(Kind::Ident) {
                return self.unexpected("expected var");
            }
            let name = self.variable()?;
            names.push(name);
            if !self.eat(Kind::Comma) {
                break;
            }
        }
        let span = self.since(start);
        if !self.keywords.member && !self.token().newline && self.text(self.span()) == "in" {
            return self.hinted(
                self.span(),
                "unexpected identifier token: expected \\n or ;",
                "`import future.keywords.in` for `some x in xs` expressions",
            );
        }
        Ok(Expr { span, negated: false, kind: ExprKind::Some(names), with: Vec::new() })
    }

    fn every(&mut self) -> Parsed<Expr> {
        let start = self.bump();
        let term = self.term_in(true)?;
        let TermKind::In { key, value, collection } = term.kind else {
            return self.unexpected("expected `x[, y] in xs { ... }` expression");
        };
        if key.as_ref().is_some_and(|key| !is_variable(key)) {
            return self.unexpected("expected key to be a variable");
        }
        if !is_variable(&value) {
            return self.unexpected("expected value to be a variable");
        }
        if !self.is(Kind::LBrace) {
            return self.unexpected("missing body");
        }
        let body = self.braced_body()?;
        let with = self.with()?;
        let kind = ExprKind::Every { key, value, domain: collection, body: Box::new(body) };
        Ok(Expr { span: self.since(start), negated: false, kind, with })
    }
}

fn is_variable(term: &Term) -> bool {
    matches!(&term.kind, TermKind::Wildcard(_))
        || term.as_var().is_some_and(|name| !matches!(&**name, "input" | "data"))
}

/// A body of one expression without braces.
pub(super) fn implicit(expr: Expr) -> Body {
    Body { span: expr.span, braces: false, exprs: vec![expr] }
}
