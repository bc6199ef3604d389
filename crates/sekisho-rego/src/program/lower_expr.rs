//! Expressions: from syntax to literals.

use std::rc::Rc;
use std::sync::Arc;

use super::core::{Literal, LiteralKind, Modifier, ModifierTarget, ModifierValue, Term};
use super::lower::{Lowered, Lowerer, declared_names, literal, pattern_names};
use super::registry::{Global, scalar};
use super::step::Callee;
use crate::builtins;
use crate::syntax::ast::{self, ExprKind, InfixOp, TermKind};
use crate::value::Value;

impl Lowerer<'_> {
    /// The literals of a body with a scope of its own.
    pub(super) fn body(&mut self, body: &ast::Body) -> Lowered<Vec<Literal>> {
        let mut literals = Vec::new();
        self.open(declared_names(body));
        self.exprs(body, &mut literals)?;
        self.close();
        Ok(literals)
    }

    /// The literals of a body in the scope that is open.
    pub(super) fn exprs(&mut self, body: &ast::Body, out: &mut Vec<Literal>) -> Lowered<()> {
        body.exprs.iter().try_for_each(|expr| self.expr(expr, out))
    }

    fn expr(&mut self, expr: &ast::Expr, out: &mut Vec<Literal>) -> Lowered<()> {
        let with = self.modifiers(&expr.with, out)?;
        let start = out.len();
        let kind = match &expr.kind {
            ExprKind::Term(term) => match self.statement(term, out)? {
                Some(kind) => kind,
                None => return Ok(()),
            },
            ExprKind::Assign(left, right) => {
                let right = self.term(right, out)?;
                self.declare_pattern(&[left]);
                LiteralKind::Equal { left: self.term(left, out)?, right, assign: true }
            }
            ExprKind::Unify(left, right) => {
                let left = self.term(left, out)?;
                LiteralKind::Equal { left, right: self.term(right, out)?, assign: false }
            }
            ExprKind::Some(names) => {
                self.declare_pattern(&names.iter().collect::<Vec<_>>());
                return Ok(());
            }
            ExprKind::SomeIn { key, value, collection } => self.some_in(key.as_deref(), value, collection, out)?,
            ExprKind::Every { key, value, domain, body } => self.every(key.as_deref(), value, domain, body, out)?,
            ExprKind::Not(body) => LiteralKind::Not(Rc::new(self.body(body)?)),
            ExprKind::And(left, right) => LiteralKind::And(Rc::new(self.body(left)?), Rc::new(self.body(right)?)),
            ExprKind::Or(left, right) => LiteralKind::Or(Rc::new(self.body(left)?), Rc::new(self.body(right)?)),
        };
        out.push(Literal { kind, negated: expr.negated, with: None, span: expr.span });
        if with.is_some() {
            out.iter_mut().skip(start).for_each(|literal| literal.with.clone_from(&with));
        }
        Ok(())
    }

    /// `print` prints what is undefined as well, so its arguments are sets of their values.
    fn print(&mut self, arguments: &[ast::Term]) -> Lowered<Option<LiteralKind>> {
        let Some(builtin) = builtins::lookup("internal.print").filter(|_| self.registry.prints) else {
            return Ok(None);
        };
        let sets = arguments.iter().map(|argument| self.captured(argument, &[])).collect::<Lowered<Vec<_>>>()?;
        let arguments = vec![Term::Array(sets)];
        Ok(Some(LiteralKind::Call { callee: Callee::Builtin(builtin), arguments, result: None }))
    }

    fn declare_pattern(&mut self, terms: &[&ast::Term]) {
        let mut names = Vec::new();
        terms.iter().for_each(|term| pattern_names(term, &mut names));
        self.declare(&names);
    }

    /// A term as a statement; none where nothing has to be evaluated.
    fn statement(&mut self, term: &ast::Term, out: &mut Vec<Literal>) -> Lowered<Option<LiteralKind>> {
        match &term.kind {
            TermKind::Infix { op: InfixOp::Equal, left, right, .. } => {
                Ok(Some(LiteralKind::Same(self.term(left, out)?, self.term(right, out)?)))
            }
            TermKind::Call { function, arguments } if function.as_var().is_some_and(|name| &**name == "print") => {
                self.print(arguments)
            }
            TermKind::Call { .. } if self.metadata_call(term).is_some() => {
                Ok(Some(LiteralKind::Term(self.term(term, out)?)))
            }
            TermKind::Call { .. } | TermKind::Infix { .. } | TermKind::In { .. } => self.call(term, out).map(Some),
            _ => Ok(Some(LiteralKind::Term(self.term(term, out)?))),
        }
    }

    fn some_in(
        &mut self,
        key: Option<&ast::Term>,
        value: &ast::Term,
        collection: &ast::Term,
        out: &mut Vec<Literal>,
    ) -> Lowered<LiteralKind> {
        let start = self.term(collection, out)?;
        self.declare_pattern(&key.into_iter().chain([value]).collect::<Vec<_>>());
        let key = match key {
            Some(key) => self.term(key, out)?,
            None => Term::Var(self.fresh(None)),
        };
        let value = self.term(value, out)?;
        let right = self.extend(start, vec![key], collection.span, out);
        Ok(LiteralKind::Equal { left: value, right, assign: false })
    }

    fn every(
        &mut self,
        key: Option<&ast::Term>,
        value: &ast::Term,
        domain: &ast::Term,
        body: &ast::Body,
        out: &mut Vec<Literal>,
    ) -> Lowered<LiteralKind> {
        let right = self.term(domain, out)?;
        let domain_var = Term::Var(self.fresh(None));
        let bound = LiteralKind::Equal { left: domain_var.clone(), right, assign: false };
        out.push(literal(bound, domain.span));
        let mut names = Vec::new();
        key.into_iter().chain([value]).for_each(|term| pattern_names(term, &mut names));
        self.open(names.clone());
        self.declare(&names);
        let mut unused = Vec::new();
        let key = key.map(|key| self.term(key, &mut unused)).transpose()?;
        let value = self.term(value, &mut unused)?;
        let body = Rc::new(self.body(body)?);
        self.close();
        Ok(LiteralKind::Every { key, value, domain: domain_var, body })
    }

    /// The `with` modifiers of an expression.
    pub(super) fn modifiers(
        &mut self,
        with: &[ast::With],
        out: &mut Vec<Literal>,
    ) -> Lowered<Option<Rc<Vec<Modifier>>>> {
        if with.is_empty() {
            return Ok(None);
        }
        let mut mods = Vec::with_capacity(with.len());
        for modifier in with {
            let target = self.modifier_target(&modifier.target)?;
            let replaces_function = matches!(target, ModifierTarget::Callee(_));
            let value = match self.find_callee(&modifier.value).filter(|_| replaces_function) {
                Some(callee) => ModifierValue::Callee(callee),
                None => ModifierValue::Term(self.given(&modifier.value, out)?),
            };
            mods.push(Modifier { target, value });
        }
        Ok(Some(Rc::new(mods)))
    }

    /// The value of a modifier. What has references with variables in it is read before: each of its values is one to
    /// go on with.
    fn given(&mut self, value: &ast::Term, out: &mut Vec<Literal>) -> Lowered<Term> {
        let right = self.term(value, out)?;
        if !has_variables(&right) {
            return Ok(right);
        }
        let left = Term::Var(self.fresh(None));
        let kind = LiteralKind::Equal { left: left.clone(), right, assign: false };
        out.push(literal(kind, value.span));
        Ok(left)
    }

    fn modifier_target(&mut self, target: &ast::Term) -> Lowered<ModifierTarget> {
        if let Some(callee) = self.find_callee(target) {
            return Ok(ModifierTarget::Callee(callee));
        }
        let (first, rest) = match &target.kind {
            TermKind::Var(name) => (name.clone(), Vec::new()),
            TermKind::Ref { head, path } => match head.as_var() {
                Some(name) => (name.clone(), path.iter().map(|part| scalar(&part.term)).collect()),
                None => return self.bad_target(target),
            },
            _ => return self.bad_target(target),
        };
        let Some(rest) = rest.into_iter().collect::<Option<Vec<Value>>>() else {
            return self.bad_target(target);
        };
        match (self.globals.get(&first), &*first) {
            (Some(Global::Data(start)), _) => Ok(ModifierTarget::Data(joined(start, rest))),
            (Some(Global::Input(start)), _) => Ok(ModifierTarget::Input(joined(start, rest))),
            (None, "data") => Ok(ModifierTarget::Data(rest.into())),
            (None, "input") => Ok(ModifierTarget::Input(rest.into())),
            _ => self.bad_target(target),
        }
    }

    fn bad_target(&self, target: &ast::Term) -> Lowered<ModifierTarget> {
        let message = "with keyword target must reference existing input, data, or a function";
        self.fail("rego_type_error", message, target.span)
    }
}

/// Whether a reference in a term has keys that are not constant.
fn has_variables(term: &Term) -> bool {
    let mut found = false;
    term.each_ref(&mut |_, path| found |= path.iter().any(|part| !matches!(part, Term::Const(_))));
    found
}

fn joined(start: &[Value], rest: Vec<Value>) -> Arc<[Value]> {
    start.iter().cloned().chain(rest).collect()
}
