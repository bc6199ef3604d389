//! Rules, bodies and expressions.

use super::super::ast::{
    Body, Else, Expr, ExprKind, Head, HeadKind, InfixOp, Rule, Span, Term, TermKind, Version, With,
};
use super::super::token::Kind;
use super::shape::is_true;
use super::writer::Writer;

impl Writer<'_> {
    fn is_v1(&self) -> bool {
        self.module.rego_v1 || self.module.version == Version::V1
    }

    /// A rule and the bodies chained to it, then a blank line unless the next rule stands close to it.
    pub(super) fn rule_group(&mut self, rules: &[Rule], kept: bool, next: Option<&Rule>) {
        let Some(first) = rules.first() else { return };
        self.comments_before(first.span.line);
        let saved = self.save();
        if !kept {
            for (at, rule) in rules.iter().enumerate() {
                if at > 0 {
                    self.blank_line();
                }
                self.rule(rule);
                self.end_line();
            }
        }
        if kept || self.misplaced {
            self.back(&saved);
            let whole = rules.last().map_or(first.span, |last| first.span.to(last.span));
            self.verbatim(whole);
            self.skip_comments(whole);
            self.end_line();
        }
        let close = next.is_some_and(|next| {
            rules.len() == 1 && self.is_short(first) && self.is_short(next) && next.span.line == first.span.line + 1
        });
        if !close {
            self.blank_line();
        }
    }

    /// Whether a rule may stand directly above another one.
    fn is_short(&self, rule: &Rule) -> bool {
        let set = rule.body.as_ref().is_some_and(is_set);
        let short = rule.body.as_ref().is_none_or(|body| body.exprs.len() == 1);
        let partial = matches!(rule.head.kind, HeadKind::Set { .. });
        let with_if = self.use_if && (self.use_contains || !partial);
        with_if && short && !set && !rule.default && rule.otherwise.is_empty()
    }

    fn rule(&mut self, rule: &Rule) {
        if rule.default {
            self.token("default ", rule.span.line);
        }
        self.head(&rule.head);
        let head_end = self.end_line_of(rule.head.span);
        let constant = rule.otherwise.is_empty() && rule.body.as_ref().is_some_and(is_true);
        if let Some(body) = rule.body.as_ref().filter(|_| !constant) {
            let set = matches!(rule.head.kind, HeadKind::Set { .. });
            let has_if = rule.has_if || self.use_if && (self.use_contains || !set);
            self.rule_body(body, has_if, head_end, true);
        } else if constant && rule.head.value().is_none() && !matches!(rule.head.kind, HeadKind::Set { .. }) {
            self.write(if self.is_v1() { " := true" } else { " = true" });
        }
        let mut line = rule.span.line;
        for (at, branch) in rule.otherwise.iter().enumerate() {
            self.else_branch(branch, line, at + 1 == rule.otherwise.len());
            line = branch.span.line;
        }
    }

    fn rule_body(&mut self, body: &Body, has_if: bool, head_end: u32, ambiguous: bool) {
        if has_if {
            self.write(" if");
            if let [expr] = body.exprs.as_slice()
                && expr.span.line == head_end
                && !is_set(body)
            {
                self.write(" ");
                self.expr(expr);
                return;
            }
        }
        self.write(" {");
        self.at_line = self.at_line.max(if body.braces { body.span.line } else { head_end });
        self.end_line();
        self.deeper();
        self.exprs(body, ambiguous && has_if);
        let line = self.end_line_of(body.span);
        self.comments_before_end(line);
        self.shallower();
        self.token("}", line);
    }

    fn else_branch(&mut self, branch: &Else, before: u32, last: bool) {
        let line = branch.span.line;
        let inline = line > before && self.comment_above(line).is_none() && self.starts_after_something(branch.span);
        if inline {
            self.token(" else", line);
        } else {
            self.end_line();
            if self.comment_above(line).is_none() {
                self.blank_line();
            } else {
                self.blank_line();
                self.comments_before_end(line);
            }
            self.token("else", line);
        }
        let mut head_end = line;
        if let Some(value) = &branch.value {
            self.write(if branch.assign || self.is_v1() { " := " } else { " = " });
            self.term(value, false);
            head_end = self.end_line_of(value.span);
        }
        let constant = last && branch.value.is_some() && branch.body.as_ref().is_some_and(is_true);
        if let Some(body) = branch.body.as_ref().filter(|_| !constant) {
            self.rule_body(body, branch.has_if || self.use_if, head_end, false);
        }
    }

    /// Whether something stands before a place on its line of the source.
    fn starts_after_something(&self, span: Span) -> bool {
        let text = &self.module.source.text;
        let before = text.get(..span.start as usize).unwrap_or("");
        !before.rsplit('\n').next().unwrap_or("").trim().is_empty()
    }

    fn head(&mut self, head: &Head) {
        self.token(&head.name.text, head.name.span.line);
        for part in &head.path {
            self.written_part(part);
        }
        match &head.kind {
            HeadKind::Set { element, contains } if *contains || self.use_contains => {
                self.write(" contains ");
                self.term(element, false);
            }
            HeadKind::Set { element, .. } => {
                self.write("[");
                self.term(element, false);
                self.write("]");
            }
            HeadKind::Function { parameters, .. } => {
                self.write("(");
                let last = parameters.last().map_or(head.span.end, |term| term.span.end);
                let close = self.line_of_next(Kind::RParen, last);
                self.list(parameters, head.name.span.line, close);
                self.token(")", close);
            }
            HeadKind::Value(_) => {}
        }
        if let Some(value) = head.value() {
            self.write(if head.assign || self.is_v1() { " := " } else { " = " });
            self.term(value, false);
        }
    }

    /// The expressions of a body, each on its line. The first one may need parentheses.
    pub(super) fn exprs(&mut self, body: &Body, ambiguous: bool) {
        let mut end = None;
        for (at, expr) in body.exprs.iter().enumerate() {
            let above = self.comment_above(expr.span.line).unwrap_or(expr.span.line);
            if end.is_some_and(|end| above > end + 1) {
                self.blank_line();
            }
            self.comments_before(expr.span.line);
            let union = at == 0 && ambiguous && is_union(expr);
            if let (true, ExprKind::Term(term)) = (union, &expr.kind) {
                self.token("(", expr.span.line);
                self.whole_term(term);
                self.write(")");
                self.modifiers(&expr.with);
            } else {
                self.expr(expr);
            }
            self.end_line();
            end = Some(self.end_line_of(expr.span).max(self.at_line));
        }
    }

    pub(super) fn expr(&mut self, expr: &Expr) {
        if expr.negated {
            self.token("not ", expr.span.line);
        }
        match &expr.kind {
            ExprKind::Term(term) => self.whole_term(term),
            ExprKind::Assign(left, right) => self.equation(left, " := ", right),
            ExprKind::Unify(left, right) => self.equation(left, " = ", right),
            ExprKind::Some(names) => self.some(expr, names),
            ExprKind::SomeIn { key, value, collection } => {
                self.token("some ", expr.span.line);
                self.membership(key.as_deref(), value, collection);
            }
            ExprKind::Every { key, value, domain, body } => {
                self.token("every ", expr.span.line);
                self.membership(key.as_deref(), value, domain);
                self.write(" ");
                self.braced(body, false);
            }
            ExprKind::Not(body) => self.negation(expr, body),
            ExprKind::And(left, right) => self.logical(left, "and", right),
            ExprKind::Or(left, right) => self.logical(left, "or", right),
        }
        self.modifiers(&expr.with);
    }

    fn equation(&mut self, left: &Term, sign: &str, right: &Term) {
        self.term(left, false);
        self.write(sign);
        self.term(right, false);
    }

    fn some(&mut self, expr: &Expr, names: &[Term]) {
        self.token("some ", expr.span.line);
        let mut line = expr.span.line;
        for (at, name) in names.iter().enumerate() {
            if name.span.line > line {
                self.end_line();
                self.deeper();
                self.term(name, false);
                self.shallower();
                line = name.span.line;
            } else {
                if at > 0 {
                    self.write(" ");
                }
                self.term(name, false);
            }
            if at + 1 < names.len() {
                self.write(",");
            }
        }
    }

    fn modifiers(&mut self, with: &[With]) {
        let mut line = self.at_line;
        let mut deeper = false;
        for with in with {
            if with.span.line > line {
                self.end_line();
                if !deeper {
                    self.deeper();
                    deeper = true;
                }
            } else {
                self.write(" ");
            }
            self.token("with ", with.span.line);
            self.term(&with.target, false);
            self.write(" as ");
            self.term(&with.value, false);
            line = self.at_line;
        }
        if deeper {
            self.shallower();
        }
    }

    /// `{ body }`.
    pub(super) fn braced(&mut self, body: &Body, ambiguous: bool) {
        let close = self.end_line_of(body.span);
        self.token("{", body.span.line);
        if close == body.span.line {
            self.write(" ");
            let union = ambiguous && body.exprs.first().is_some_and(is_union);
            self.write(if union { "(" } else { "" });
            self.one_line_with(body, union);
            self.token(" }", close);
            return;
        }
        self.end_line();
        self.deeper();
        self.exprs(body, ambiguous);
        self.comments_before_end(close);
        self.shallower();
        self.token("}", close);
    }

    /// Expressions separated by semicolons.
    pub(super) fn one_line(&mut self, body: &Body) {
        self.one_line_with(body, false);
    }

    /// The same; `closes` says whether the first one ends with a parenthesis.
    fn one_line_with(&mut self, body: &Body, closes: bool) {
        for (at, expr) in body.exprs.iter().enumerate() {
            if at > 0 {
                self.write("; ");
            }
            if let (0, true, ExprKind::Term(term)) = (at, closes, &expr.kind) {
                self.whole_term(term);
                self.write(")");
                self.modifiers(&expr.with);
            } else {
                self.expr(expr);
            }
        }
    }
}

fn is_set(body: &Body) -> bool {
    matches!(
        body.exprs.as_slice(),
        [Expr { kind: ExprKind::Term(Term { kind: TermKind::Set(_), .. }), negated: false, .. }]
    )
}

fn is_union(expr: &Expr) -> bool {
    !expr.negated && matches!(&expr.kind, ExprKind::Term(Term { kind: TermKind::Infix { op: InfixOp::Union, .. }, .. }))
}
