//! Bodies and expressions.

use std::sync::Arc;

use super::super::declared::{self, Names};
use super::super::flat::{Item, Step, StepKind, VarId, Vars};
use super::super::scope::Occurrence;
use super::super::vars::{Skip, in_body};
use super::Builder;
use crate::syntax::ast::{Body, Expr, ExprKind, Span, Term, TermKind};
use crate::syntax::error::{Code, Error};

const ASSIGNED_IN_NOT: &str = "cannot assign vars inside negated expression";

impl Builder<'_> {
    /// The steps of a body, in the current scope.
    pub(super) fn body(&mut self, body: &Body, out: &mut Vec<Step>) {
        for expr in &body.exprs {
            self.expr(expr, out);
        }
        if out.is_empty() {
            out.push(Step::generated(body.span, StepKind::Term(Item::Bool(true))));
        }
    }

    fn expr(&mut self, expr: &Expr, out: &mut Vec<Step>) {
        let mut steps = Vec::new();
        // What `:=` declares is not there yet for the modifiers of its own expression.
        let first = matches!(expr.kind, ExprKind::Assign(..)).then(|| self.modifiers(&expr.with, out));
        let last = match &expr.kind {
            ExprKind::Term(term) => self.plain(term, &mut steps),
            ExprKind::Assign(left, right) => self.assign(expr, left, right, &mut steps),
            ExprKind::Unify(left, right) => {
                let left = self.term(left, &mut steps);
                let right = self.term(right, &mut steps);
                Some(StepKind::Equal { left, right, assigned: false })
            }
            ExprKind::Some(names) => {
                self.some(expr, names);
                None
            }
            ExprKind::SomeIn { key, value, collection } => {
                self.some_in(expr, key.as_deref(), value, collection, &mut steps)
            }
            ExprKind::Every { key, value, domain, body } => {
                Some(self.every(expr.span, key.as_deref(), value, domain, body, &mut steps))
            }
            ExprKind::Not(body) => {
                let braces = body.braces;
                let body = self.operand(body, ASSIGNED_IN_NOT);
                Some(StepKind::Not { body, braces })
            }
            ExprKind::And(left, right) => Some(self.logical(left, right, "and")),
            ExprKind::Or(left, right) => Some(self.logical(left, right, "or")),
        };
        let with = first.unwrap_or_else(|| self.modifiers(&expr.with, out));
        if !with.is_empty() {
            for step in &mut steps {
                step.with.clone_from(&with);
            }
        }
        out.append(&mut steps);
        if let Some(kind) = last {
            out.push(Step { span: expr.span, negated: expr.negated, generated: false, with, kind });
        }
    }

    /// An expression of one term: a call of its own, or a value.
    fn plain(&mut self, term: &Term, out: &mut Vec<Step>) -> Option<StepKind> {
        if let Some((callee, arguments)) = self.call(term, out) {
            return Some(StepKind::Call { callee, arguments });
        }
        let item = self.term(term, out);
        Some(StepKind::Term(item))
    }

    fn assign(&mut self, expr: &Expr, left: &Term, right: &Term, out: &mut Vec<Step>) -> Option<StepKind> {
        if expr.negated {
            self.report(Code::Compile, expr.span, ASSIGNED_IN_NOT);
            return None;
        }
        let right = self.term(right, out);
        let left = self.pattern(left, Occurrence::Assigned);
        Some(StepKind::Equal { left, right, assigned: true })
    }

    /// The left side of an assignment.
    fn pattern(&mut self, term: &Term, occurrence: Occurrence) -> Item {
        match &term.kind {
            TermKind::Var(name) => Item::Var(self.declare(name, term.span, occurrence)),
            TermKind::Wildcard(number) => Item::Var(self.wildcard(*number)),
            TermKind::Array(terms) => Item::Array(terms.iter().map(|term| self.pattern(term, occurrence)).collect()),
            TermKind::Object(pairs) => {
                let mut items = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    let value = self.pattern(value, occurrence);
                    let mut keys = Vec::new();
                    items.push((self.term(key, &mut keys), value));
                }
                Item::Object(items)
            }
            _ => {
                self.report(Code::Compile, term.span, format!("cannot assign to {}", term.kind.name()));
                Item::Null
            }
        }
    }

    fn some(&mut self, expr: &Expr, names: &[Term]) {
        for term in names {
            if let TermKind::Var(name) = &term.kind {
                self.declare(name, expr.span, Occurrence::Declared);
            }
        }
    }

    fn some_in(
        &mut self,
        expr: &Expr,
        key: Option<&Term>,
        value: &Term,
        collection: &Term,
        out: &mut Vec<Step>,
    ) -> Option<StepKind> {
        let mut bound = Names::new();
        key.into_iter().chain([value]).for_each(|term| {
            declared::bound(term, &mut |name| {
                bound.insert(name.clone());
            });
        });
        let mut taken = Names::new();
        declared::variables(collection, &mut |name| {
            taken.insert(name.clone());
        });
        let both: Vec<Arc<str>> = bound.intersection(&taken).cloned().collect();
        if !both.is_empty() {
            for name in both {
                self.report(Code::Compile, expr.span, format!("var {name} assigned before"));
            }
            return None;
        }
        for name in &bound {
            if !matches!(&**name, "input" | "data") {
                self.declare(name, expr.span, Occurrence::Declared);
            }
        }
        let value = self.term(value, out);
        let key = match key {
            Some(key) => self.term(key, out),
            None => Item::Var(self.variables.generated()),
        };
        let subject = self.term(collection, out);
        let element = self.extend(subject, vec![key], collection.span, out);
        Some(StepKind::Equal { left: value, right: element, assigned: false })
    }

    fn every(
        &mut self,
        span: Span,
        key: Option<&Term>,
        value: &Term,
        domain: &Term,
        body: &Body,
        out: &mut Vec<Step>,
    ) -> StepKind {
        let item = self.term(domain, out);
        let domain = Item::Var(self.capture(item, domain.span, out));
        let mut names = Names::new();
        key.into_iter().chain([value]).for_each(|term| declared::pattern(term, &mut names));
        self.hidden.push(names);
        self.scopes.push();
        let key = key.map(|key| self.loop_variable(key, span));
        let value = self.loop_variable(value, span);
        let mut steps = Vec::new();
        self.body(body, &mut steps);
        self.report_unused(body, &steps, &Vars::new());
        self.scopes.pop();
        self.hidden.pop();
        StepKind::Every { key, value, domain, body: steps }
    }

    fn loop_variable(&mut self, term: &Term, span: Span) -> VarId {
        match &term.kind {
            TermKind::Var(name) => self.declare(name, span, Occurrence::Declared),
            TermKind::Wildcard(number) => self.wildcard(*number),
            _ => self.variables.generated(),
        }
    }

    fn logical(&mut self, left: &Body, right: &Body, op: &str) -> StepKind {
        let message = format!("cannot assign vars inside implicit {op} operand");
        let (left_braces, right_braces) = (left.braces, right.braces);
        let left = self.operand(left, &message);
        let right = self.operand(right, &message);
        StepKind::Logical { left, left_braces, right, right_braces }
    }

    /// The body of `not`, `and` or `or`. Only one in braces is a scope and may declare names.
    fn operand(&mut self, body: &Body, assigned: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        if body.braces {
            self.scopes.push();
            self.body(body, &mut steps);
            self.report_unused(body, &steps, &Vars::new());
            self.scopes.pop();
            return steps;
        }
        for expr in &body.exprs {
            if matches!(expr.kind, ExprKind::Assign(..)) {
                self.report(Code::Compile, expr.span, assigned);
            } else {
                self.expr(expr, &mut steps);
            }
        }
        steps
    }

    /// Reports the names that the current scope declares and nothing uses. `used` are variables of the head.
    pub(super) fn report_unused(&mut self, body: &Body, steps: &[Step], used: &Vars) {
        if !self.errors.is_empty() || !self.unused.is_empty() {
            return;
        }
        let mut seen = used.clone();
        in_body(steps, Skip::default(), &mut |id| {
            seen.insert(id);
        });
        let scope = self.scopes.pop();
        let mut found = Vec::new();
        for (name, entry) in &scope.entries {
            let what = match entry.occurrence {
                Occurrence::Declared if !seen.contains(&entry.id) => "declared",
                Occurrence::Assigned if self.strict && entry.count <= 1 && !used.contains(&entry.id) => "assigned",
                _ => continue,
            };
            let expr = body.exprs.iter().find(|expr| {
                let mut names = Names::new();
                declared::expr_names(expr, &mut names);
                names.contains(name)
            });
            let span = expr.or(body.exprs.first()).map_or(body.span, |expr| expr.span);
            let error = Error::new(Code::Compile, self.source, span, format!("{what} var {name} unused"));
            found.push(error.hint(format!("remove `{name}` or write `_`")));
        }
        self.scopes.restore(scope);
        self.unused.append(&mut found);
    }
}
