//! Literals become steps.

use std::rc::Rc;

use super::core::{Comprehension, Kind, Literal, LiteralKind, Modifier, ModifierTarget, ModifierValue, Term, Var};
use super::lower::{Lowered, Lowerer};
use super::order::{Vars, order};
use super::step::{
    Block, Callee, Collect, CollectKind, Compare, Every, Mock, Operand, Pattern, Slot, Step, StepKind, Target, WithMod,
};
use crate::syntax::ast::Span;

/// Emits the steps of one rule or query.
pub(super) struct Emitter<'l, 'a> {
    pub(super) lowerer: &'l mut Lowerer<'a>,
    pub(super) bound: Vars,
}

impl Emitter<'_, '_> {
    /// The steps of a body in a safe order.
    pub(super) fn body(&mut self, body: &[Literal], span: Span) -> Lowered<Vec<Step>> {
        let mut steps = Vec::new();
        self.body_into(body, span, &mut steps)?;
        Ok(steps)
    }

    pub(super) fn body_into(&mut self, body: &[Literal], span: Span, steps: &mut Vec<Step>) -> Lowered<()> {
        let ordered = match order(body, &self.bound) {
            Ok(ordered) => ordered,
            Err(unbound) => return self.unsafe_var(&unbound, span),
        };
        let same = |a: &&Literal, b: &&Literal| match (&a.with, &b.with) {
            (None, None) => true,
            (Some(a), Some(b)) => Rc::ptr_eq(a, b),
            _ => false,
        };
        for group in ordered.chunk_by(same) {
            match group.first().and_then(|literal| literal.with.as_ref()) {
                None => group.iter().try_for_each(|literal| self.literal(literal, steps))?,
                Some(mods) => self.with(mods, group, steps)?,
            }
        }
        Ok(())
    }

    fn unsafe_var<T>(&self, unbound: &Vars, span: Span) -> Lowered<T> {
        let name = unbound.iter().find_map(|var| self.lowerer.names.get(*var as usize)?.clone());
        let message = format!("var {} is unsafe", name.as_deref().unwrap_or("_"));
        self.lowerer.fail("rego_unsafe_var_error", message, span)
    }

    /// Steps under modifiers, as one step that binds what they bind.
    fn with(&mut self, mods: &Rc<Vec<Modifier>>, group: &[&Literal], steps: &mut Vec<Step>) -> Lowered<()> {
        let span = group.first().map(|literal| literal.span).unwrap_or_default();
        let mut lowered = Vec::with_capacity(mods.len());
        for modifier in mods.iter() {
            let target = match &modifier.target {
                ModifierTarget::Input(path) => Target::Input(path.clone()),
                ModifierTarget::Data(path) => Target::Data(path.clone()),
                ModifierTarget::Callee(Callee::Builtin(builtin)) => Target::Builtin(builtin),
                ModifierTarget::Callee(Callee::Function(set)) => Target::Function(*set),
            };
            let value = match &modifier.value {
                ModifierValue::Callee(callee) => Mock::Callee(*callee),
                ModifierValue::Term(term) => {
                    let term = self.hoist(term, span, steps)?;
                    Mock::Value(self.operand(&term, span)?)
                }
            };
            lowered.push(WithMod { target, value });
        }
        let before = self.bound.clone();
        let mut inner = Vec::new();
        group.iter().try_for_each(|literal| self.literal(literal, &mut inner))?;
        let outs: Box<[Slot]> = self.bound.difference(&before).copied().collect();
        let block = Block { steps: inner.into() };
        steps.push(Step { kind: StepKind::With { mods: lowered.into(), block, outs }, span });
        Ok(())
    }

    fn literal(&mut self, literal: &Literal, steps: &mut Vec<Step>) -> Lowered<()> {
        let span = literal.span;
        let kind = self.hoist_literal(&literal.kind, span, steps)?;
        if !literal.negated {
            return self.kind(&kind, span, steps);
        }
        let before = self.bound.clone();
        let mut inner = Vec::new();
        self.kind(&kind, span, &mut inner)?;
        self.bound = before;
        steps.push(Step { kind: StepKind::Not { block: Block { steps: inner.into() } }, span });
        Ok(())
    }

    /// The literal with references and comprehensions evaluated before it, but those that stand at its top.
    fn hoist_literal(&mut self, kind: &LiteralKind, span: Span, steps: &mut Vec<Step>) -> Lowered<LiteralKind> {
        Ok(match kind {
            LiteralKind::Term(term) => LiteralKind::Term(self.hoist_inner(term, span, steps)?),
            LiteralKind::Equal { left, right, assign } => LiteralKind::Equal {
                left: self.hoist_inner(left, span, steps)?,
                right: self.hoist_inner(right, span, steps)?,
                assign: *assign,
            },
            LiteralKind::Same(left, right) => LiteralKind::Equal {
                left: self.hoist_inner(left, span, steps)?,
                right: self.hoist_inner(right, span, steps)?,
                assign: false,
            },
            LiteralKind::Call { callee, arguments, result } => LiteralKind::Call {
                callee: *callee,
                arguments: arguments.iter().map(|term| self.hoist(term, span, steps)).collect::<Lowered<_>>()?,
                result: result.as_ref().map(|term| self.hoist(term, span, steps)).transpose()?,
            },
            LiteralKind::Member { key, value, collection, result } => LiteralKind::Member {
                key: key.as_ref().map(|term| self.hoist(term, span, steps)).transpose()?,
                value: self.hoist(value, span, steps)?,
                collection: self.hoist(collection, span, steps)?,
                result: result.as_ref().map(|term| self.hoist(term, span, steps)).transpose()?,
            },
            LiteralKind::Every { key, value, domain, body } => LiteralKind::Every {
                key: key.clone(),
                value: value.clone(),
                domain: self.hoist(domain, span, steps)?,
                body: body.clone(),
            },
            LiteralKind::Not(_) | LiteralKind::And(..) | LiteralKind::Or(..) => kind.clone(),
        })
    }

    fn kind(&mut self, kind: &LiteralKind, span: Span, steps: &mut Vec<Step>) -> Lowered<()> {
        let kind = match kind {
            LiteralKind::Term(term) => {
                let term = self.value_of(term, span, steps)?;
                StepKind::Test { value: self.operand(&term, span)? }
            }
            LiteralKind::Equal { left, right, .. } | LiteralKind::Same(left, right) => {
                return self.unify(left, right, span, steps);
            }
            LiteralKind::Call { callee, arguments, result } => self.call(*callee, arguments, result.as_ref(), span)?,
            LiteralKind::Member { key, value, collection, result } => StepKind::Member {
                key: key.as_ref().map(|term| self.operand(term, span)).transpose()?,
                value: self.operand(value, span)?,
                collection: self.operand(collection, span)?,
                result: result.as_ref().map(|term| self.pattern(term, span)).transpose()?,
            },
            LiteralKind::Every { key, value, domain, body } => {
                let domain = self.operand(domain, span)?;
                let before = self.bound.clone();
                let key = key.as_ref().map_or(Ok(Pattern::Any), |key| self.pattern(key, span))?;
                let value = self.pattern(value, span)?;
                let block = Block { steps: self.body(body, span)?.into() };
                self.bound = before;
                StepKind::Every(Box::new(Every { domain, key, value, block }))
            }
            LiteralKind::Not(body) => StepKind::Not { block: self.closed(body, span)? },
            LiteralKind::And(left, right) => {
                StepKind::And { left: self.closed(left, span)?, right: self.closed(right, span)? }
            }
            LiteralKind::Or(left, right) => {
                StepKind::Or { left: self.closed(left, span)?, right: self.closed(right, span)? }
            }
        };
        steps.push(Step { kind, span });
        Ok(())
    }

    /// A body that binds nothing outside of it.
    fn closed(&mut self, body: &[Literal], span: Span) -> Lowered<Block> {
        let before = self.bound.clone();
        let steps = self.body(body, span)?;
        self.bound = before;
        Ok(Block { steps: steps.into() })
    }

    fn call(&mut self, callee: Callee, arguments: &[Term], result: Option<&Term>, span: Span) -> Lowered<StepKind> {
        let mut operands = Vec::with_capacity(arguments.len());
        for argument in arguments {
            operands.push(self.operand(argument, span)?);
        }
        let result = result.map(|term| self.pattern(term, span)).transpose()?;
        let name = match callee {
            Callee::Builtin(builtin) => builtin.name(),
            Callee::Function(_) => "",
        };
        let compare = match name {
            "neq" => Some(Compare::NotEqual),
            "lt" => Some(Compare::Less),
            "lte" => Some(Compare::LessEqual),
            "gt" => Some(Compare::Greater),
            "gte" => Some(Compare::GreaterEqual),
            _ => None,
        };
        if name == "walk" && operands.len() == 1 {
            let value = operands.pop().unwrap_or(Operand::Array(Box::new([])));
            return Ok(StepKind::Traverse { value, result: result.unwrap_or(Pattern::Any) });
        }
        if let (Some(op), None, 2) = (compare, &result, operands.len()) {
            let (right, left) = (operands.pop(), operands.pop());
            if let (Some(left), Some(right)) = (left, right) {
                return Ok(StepKind::Compare { op, left, right });
            }
        }
        Ok(StepKind::Call { callee, arguments: operands.into(), result })
    }

    /// A comprehension into a slot.
    pub(super) fn collect(&mut self, inner: &Comprehension, out: Var, steps: &mut Vec<Step>) -> Lowered<()> {
        let before = self.bound.clone();
        let mut block = self.body(&inner.body, inner.span)?;
        let key = match &inner.key {
            Some(key) => {
                let key = self.hoist(key, inner.span, &mut block)?;
                Some(self.operand(&key, inner.span)?)
            }
            None => None,
        };
        let value = self.hoist(&inner.value, inner.span, &mut block)?;
        let value = self.operand(&value, inner.span)?;
        self.bound = before;
        let kind = match (inner.kind, key) {
            (Kind::Object, Some(key)) => CollectKind::Object { key },
            (Kind::Array, _) => CollectKind::Array,
            _ => CollectKind::Set,
        };
        let collect = Collect { kind, block: Block { steps: block.into() }, value, out };
        steps.push(Step { kind: StepKind::Collect(Box::new(collect)), span: inner.span });
        self.bound.insert(out);
        Ok(())
    }
}
