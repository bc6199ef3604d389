//! `and`, `or` and negated bodies.

use super::super::ast::{Body, Expr, ExprKind, InfixOp, Span, TermKind};
use super::super::token::Kind;
use super::expr::implicit;
use super::{Parsed, Parser, TOO_DEEP};

impl Parser<'_> {
    pub(super) fn logical_active(&self) -> bool {
        self.keywords.and || self.keywords.or
    }

    pub(super) fn logical_follows(&self) -> bool {
        matches!(self.kind(), Kind::LogicalAnd | Kind::LogicalOr)
    }

    /// `{ body } and …` at the start of an expression; absent if the braces are something else.
    pub(super) fn logical_braces(&mut self) -> Parsed<Option<Expr>> {
        let mark = self.mark();
        if let Ok(body) = self.braced_body()
            && self.logical_follows()
        {
            self.not_ambiguous(&body, "")?;
            return self.fold_logical(body).map(Some);
        }
        self.back(mark);
        Ok(None)
    }

    /// After a complete operand: the operators that follow, then `with` modifiers of the whole.
    pub(super) fn fold_logical(&mut self, operand: Body) -> Parsed<Expr> {
        let mut expr = match self.logical_follows() {
            true => self.or_chain(operand)?,
            false => match operand {
                Body { braces: false, mut exprs, .. } if exprs.len() == 1 => match exprs.pop() {
                    Some(expr) => expr,
                    None => return self.unexpected(""),
                },
                _ => return self.unexpected(""),
            },
        };
        if self.is(Kind::With) {
            let start = expr.span;
            expr.with = self.with()?;
            expr.span = self.since(start);
        }
        Ok(expr)
    }

    fn or_chain(&mut self, left: Body) -> Parsed<Expr> {
        let mut left = if self.is(Kind::LogicalAnd) { self.and_chain(left)? } else { left };
        while self.eat(Kind::LogicalOr) {
            let mut right = self.operand("or")?;
            if self.is(Kind::LogicalAnd) {
                right = self.and_chain(right)?;
            }
            left = self.join(left, right, ExprKind::Or)?;
        }
        match left.exprs.pop() {
            Some(expr) => Ok(expr),
            None => self.unexpected(""),
        }
    }

    fn and_chain(&mut self, mut left: Body) -> Parsed<Body> {
        while self.eat(Kind::LogicalAnd) {
            let right = self.operand("and")?;
            left = self.join(left, right, ExprKind::And)?;
        }
        Ok(left)
    }

    fn join(&self, left: Body, right: Body, kind: fn(Body, Body) -> ExprKind) -> Parsed<Body> {
        let span = self.since(left.span);
        let expr = Expr { span, negated: false, kind: kind(left, right), with: Vec::new() };
        if expr.height() > super::MAX_HEIGHT {
            return self.hinted(span, "max parsing recursion depth exceeded", TOO_DEEP);
        }
        Ok(implicit(expr))
    }

    fn operand(&mut self, op: &str) -> Parsed<Body> {
        self.deeper(|p| p.operand_at(op))
    }

    fn operand_at(&mut self, op: &str) -> Parsed<Body> {
        let start = self.span();
        if self.is(Kind::LBrace) {
            return self.braced_operand(op);
        }
        let negated = self.is(Kind::Not) && !self.starts_reference();
        if negated {
            self.bump();
        }
        let bodies = self.keywords.not_bodies;
        if negated && bodies && self.is(Kind::LBrace) {
            return self.not_body(start);
        }
        if self.is(Kind::LParen)
            && (!negated || bodies)
            && let Some(group) = self.logical_group(true)?
        {
            if !negated {
                return Ok(group);
            }
            let span = self.since(start);
            return Ok(implicit(Expr { span, negated: false, kind: ExprKind::Not(group), with: Vec::new() }));
        }
        let mut expr = self.expression()?;
        if negated && bodies {
            let span = self.since(start);
            expr = Expr { span, negated: false, kind: ExprKind::Not(implicit(expr)), with: Vec::new() };
        } else {
            expr.negated = negated;
        }
        expr.span = self.since(start);
        if self.is(Kind::With) && !op.is_empty() {
            let at = self.mark();
            let span = self.span();
            let ends = self.with().is_ok() && self.logical_follows();
            if ends {
                return self.with_on_operand(span);
            }
            self.back(at);
        }
        Ok(implicit(expr))
    }

    fn braced_operand(&mut self, op: &str) -> Parsed<Body> {
        let start = self.span();
        let mark = self.mark();
        match self.braced_body() {
            Ok(body) => {
                self.not_ambiguous(&body, "")?;
                Ok(body)
            }
            Err(error) => {
                self.back(mark);
                let empty = self.following().is_some_and(|token| token.kind == Kind::RBrace);
                if !empty && !op.is_empty() && self.term_in(true).is_ok() {
                    let span = self.since(start);
                    return self.hinted(
                        span,
                        format!("operand of `{op}` cannot begin with `{{` unless the braces hold a body"),
                        format!("wrap the operand to keep the value: `({}) {op} ...`", self.text(span)),
                    );
                }
                Err(error)
            }
        }
    }

    /// `{ body }` after `not`.
    pub(super) fn not_body(&mut self, start: Span) -> Parsed<Body> {
        let mark = self.mark();
        let brace = self.span();
        match self.braced_body() {
            Ok(body) => {
                self.not_ambiguous(&body, "not ")?;
                let span = self.since(start);
                Ok(implicit(Expr { span, negated: false, kind: ExprKind::Not(body), with: Vec::new() }))
            }
            Err(error) => {
                self.back(mark);
                let empty = self.following().is_some_and(|token| token.kind == Kind::RBrace);
                if empty {
                    return Err(error);
                }
                let Ok(term) = self.term_in(true) else { return Err(error) };
                let value = self.text(self.since(brace));
                self.hinted(
                    brace,
                    format!("`{{...}}` in an operand position must contain expression(s), got: {}", term.kind.name()),
                    format!("write `not ({value})` to negate the value, or `not {{{value}}}` for a body holding it"),
                )
            }
        }
    }

    /// A group in parentheses; absent if they hold a term.
    pub(super) fn logical_group(&mut self, operand: bool) -> Parsed<Option<Body>> {
        self.deeper(|p| p.logical_group_at(operand))
    }

    fn logical_group_at(&mut self, operand: bool) -> Parsed<Option<Body>> {
        let mark = self.mark();
        let open = self.bump();
        if self.is(Kind::RParen) {
            if operand {
                return self.error(open, "empty parenthesized group");
            }
            self.back(mark);
            return Ok(None);
        }
        let Ok(left) = self.operand("") else {
            self.back(mark);
            return Ok(None);
        };
        if self.logical_follows() {
            let expr = self.fold_logical(left)?;
            return self.close_group(open, implicit(expr)).map(Some);
        }
        if self.is(Kind::With) && !left.braces && left.exprs.len() == 1 {
            return self.group_with(mark, open, left, operand);
        }
        let logical = matches!(
            left.exprs.as_slice(),
            [Expr { kind: ExprKind::And(..) | ExprKind::Or(..) | ExprKind::Not(_), .. } | Expr { negated: true, .. }]
        );
        if left.braces {
            self.back(mark);
            self.bump();
            let value = self.term().is_ok();
            self.back(mark);
            if !value {
                return self.hinted(
                    open,
                    "`(...)` in an operand position cannot contain a body",
                    "drop the parentheses to keep the body",
                );
            }
            return Ok(None);
        }
        if logical {
            return self.close_group(open, left).map(Some);
        }
        self.back(mark);
        Ok(None)
    }

    fn group_with(&mut self, mark: super::Mark, open: Span, mut left: Body, operand: bool) -> Parsed<Option<Body>> {
        let at = self.span();
        let with = self.with()?;
        for expr in &mut left.exprs {
            expr.with = with.clone();
        }
        if self.logical_follows() {
            return self.with_on_operand(at);
        }
        if !self.is(Kind::RParen) {
            return self.error(self.span(), "expected ) to close parenthesized group");
        }
        self.bump();
        if operand || self.logical_follows() {
            left.span = self.since(open);
            return Ok(Some(left));
        }
        self.back(mark);
        Ok(None)
    }

    fn close_group(&mut self, open: Span, mut group: Body) -> Parsed<Body> {
        if !self.is(Kind::RParen) {
            return self.error(self.span(), "expected ) to close parenthesized group");
        }
        self.bump();
        group.span = self.since(open);
        Ok(group)
    }

    pub(super) fn with_on_operand<T>(&self, span: Span) -> Parsed<T> {
        let op = self.kind().name();
        self.hinted(
            span,
            format!("`with` modifier is not allowed on operand of `{op}`"),
            format!(
                "Wrap the operand in `(...)` or `{{...}}` to scope, or move `with` after the `{op}` expression to \
                 apply it to the whole expression"
            ),
        )
    }

    pub(super) fn brace_led_operand<T>(&self, span: Span) -> Parsed<T> {
        let text = self.text(span);
        if text.trim_start_matches('{').trim_start() == "}" {
            return self.error(span, "found empty body");
        }
        let op = self.kind().name();
        self.hinted(
            span,
            format!("operand of `{op}` cannot begin with `{{` unless the braces hold a body"),
            format!("wrap the operand to keep the value: `({text}) {op} ...`"),
        )
    }

    /// Refuses `{a | b}` as a body: it reads like a comprehension.
    fn not_ambiguous(&self, body: &Body, prefix: &str) -> Parsed<()> {
        let Some(Expr { kind: ExprKind::Term(term), negated: false, .. }) = body.exprs.first() else { return Ok(()) };
        if term.parens || !matches!(term.kind, TermKind::Infix { op: InfixOp::Union, .. }) {
            return Ok(());
        }
        let braces = self.text(body.span);
        self.hinted(
            body.span,
            "ambiguous `{ ... | ... }` operand: read as a body holding a set-union expression, not as a comprehension",
            format!(
                "write `{prefix}({braces})` for the comprehension, or `{prefix}{{({})}}` for the set union",
                self.text(term.span)
            ),
        )
    }
}
