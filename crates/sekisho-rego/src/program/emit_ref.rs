//! References become steps: a path of bound keys is one step, a free key is a step that tries every key.

use super::core::{Head, Term, Var};
use super::emit::Emitter;
use super::lower::Lowered;
use super::shared::{NodeId, RuleSetId};
use super::step::{Base, Key, Operand, Pattern, RuleKind, Step, StepKind};
use crate::syntax::ast::Span;
use crate::value::Value;

impl Emitter<'_, '_> {
    pub(super) fn fresh(&mut self) -> Var {
        self.lowerer.fresh(None)
    }

    /// The term with all references and comprehensions within it evaluated before.
    pub(super) fn hoist(&mut self, term: &Term, span: Span, steps: &mut Vec<Step>) -> Lowered<Term> {
        match term {
            Term::Ref(..) | Term::Comprehension(_) => {
                let term = self.hoist_inner(term, span, steps)?;
                self.value_of(&term, span, steps)
            }
            _ => self.hoist_inner(term, span, steps),
        }
    }

    /// The term with references and comprehensions below its top evaluated before.
    pub(super) fn hoist_inner(&mut self, term: &Term, span: Span, steps: &mut Vec<Step>) -> Lowered<Term> {
        let mut all =
            |terms: &[Term]| terms.iter().map(|term| self.hoist(term, span, steps)).collect::<Lowered<Vec<_>>>();
        Ok(match term {
            Term::Const(_) | Term::Var(_) | Term::Comprehension(_) => term.clone(),
            Term::Ref(head, path) => Term::Ref(*head, all(path)?),
            Term::Array(items) => Term::Array(all(items)?),
            Term::Set(items) => Term::Set(all(items)?),
            Term::Object(members) => {
                let mut hoisted = Vec::with_capacity(members.len());
                for (key, value) in members {
                    hoisted.push((self.hoist(key, span, steps)?, self.hoist(value, span, steps)?));
                }
                Term::Object(hoisted)
            }
        })
    }

    /// A term without references at its top: the value of one is a variable.
    pub(super) fn value_of(&mut self, term: &Term, span: Span, steps: &mut Vec<Step>) -> Lowered<Term> {
        match term {
            Term::Ref(head, path) if !(path.is_empty() && matches!(head, Head::Var(_))) => {
                let out = self.fresh();
                self.reference(*head, path, out, span, steps)?;
                Ok(Term::Var(out))
            }
            Term::Ref(Head::Var(var), _) => Ok(Term::Var(*var)),
            Term::Comprehension(inner) => {
                let out = self.fresh();
                self.collect(inner, out, steps)?;
                Ok(Term::Var(out))
            }
            _ => Ok(term.clone()),
        }
    }

    /// A reference whose value goes to the slot `out`, which it binds.
    pub(super) fn reference(
        &mut self,
        head: Head,
        path: &[Term],
        out: Var,
        span: Span,
        steps: &mut Vec<Step>,
    ) -> Lowered<()> {
        match head {
            Head::Input => self.path(Base::Input, path, out, span, steps)?,
            Head::Var(var) => self.path(Base::Value(Operand::Slot(var)), path, out, span, steps)?,
            Head::Data => self.data(path, out, span, steps)?,
        }
        self.bound.insert(out);
        Ok(())
    }

    /// Keys below a base.
    fn path(&mut self, base: Base, path: &[Term], out: Var, span: Span, steps: &mut Vec<Step>) -> Lowered<()> {
        let mut base = base;
        let mut rest = path;
        loop {
            let bound = rest.iter().take_while(|key| self.is_bound(key)).count();
            let (keys, after) = rest.split_at_checked(bound).unwrap_or((rest, &[]));
            let Some((free, tail)) = after.split_first() else {
                let keys = self.operands(keys, span)?;
                steps.push(Step { kind: StepKind::Get { base, keys, out }, span });
                return Ok(());
            };
            let collection = match (base, keys.is_empty()) {
                (Base::Value(operand), true) => operand,
                (base, _) => {
                    let slot = self.fresh();
                    let keys = self.operands(keys, span)?;
                    steps.push(Step { kind: StepKind::Get { base, keys, out: slot }, span });
                    Operand::Slot(slot)
                }
            };
            let key = self.pattern(free, span)?;
            let slot = if tail.is_empty() { out } else { self.fresh() };
            let kind = StepKind::Each { collection, key, value: Pattern::Bind(slot) };
            steps.push(Step { kind, span });
            if tail.is_empty() {
                return Ok(());
            }
            base = Base::Value(Operand::Slot(slot));
            rest = tail;
        }
    }

    /// A path of data: the tree of rules is followed as far as keys are constant.
    fn data(&mut self, path: &[Term], out: Var, span: Span, steps: &mut Vec<Step>) -> Lowered<()> {
        let mut node: NodeId = 0;
        let mut rest = path;
        while let Some((key, tail)) = rest.split_first() {
            let tree = &self.lowerer.registry.tree;
            if let Some(set) = tree.rules(node) {
                return self.rule(set, rest, out, span, steps);
            }
            let Term::Const(key) = key else {
                return self.tree(node, rest, out, span, steps);
            };
            match tree.child(node, key) {
                Some(child) => node = child,
                None => return self.path(Base::Data, path, out, span, steps),
            }
            rest = tail;
        }
        match self.lowerer.registry.tree.rules(node) {
            Some(set) => self.rule(set, &[], out, span, steps),
            None => {
                steps.push(Step { kind: StepKind::Extent { node, out }, span });
                Ok(())
            }
        }
    }

    fn rule(&mut self, set: RuleSetId, rest: &[Term], out: Var, span: Span, steps: &mut Vec<Step>) -> Lowered<()> {
        if matches!(self.lowerer.registry.kind(set), RuleKind::Function(_)) {
            steps.push(Step { kind: StepKind::Fail, span });
            rest.iter().for_each(|key| self.bind_all(key));
            return Ok(());
        }
        let slot = if rest.is_empty() { out } else { self.fresh() };
        steps.push(Step { kind: StepKind::Rule { set, out: slot }, span });
        if rest.is_empty() {
            return Ok(());
        }
        self.path(Base::Value(Operand::Slot(slot)), rest, out, span, steps)
    }

    /// A key that is not constant where the tree has rules below.
    fn tree(&mut self, node: NodeId, rest: &[Term], out: Var, span: Span, steps: &mut Vec<Step>) -> Lowered<()> {
        let before = self.bound.clone();
        let mut path = Vec::with_capacity(rest.len());
        for key in rest {
            path.push(match self.is_bound(key) {
                true => Key::Bound(self.operand(key, span)?),
                false => Key::Free(self.pattern(key, span)?),
            });
        }
        let outs = self.bound.difference(&before).copied().collect();
        steps.push(Step { kind: StepKind::Tree { node, path: path.into(), out, outs }, span });
        Ok(())
    }

    fn operands(&mut self, terms: &[Term], span: Span) -> Lowered<Box<[Operand]>> {
        terms.iter().map(|term| self.operand(term, span)).collect()
    }

    /// A term whose variables are all bound, as an operand.
    pub(super) fn operand(&mut self, term: &Term, span: Span) -> Lowered<Operand> {
        Ok(match term {
            Term::Const(value) => Operand::Const(value.clone()),
            Term::Var(var) if self.bound.contains(var) => Operand::Slot(*var),
            Term::Var(var) => {
                let name = self.lowerer.names.get(*var as usize).cloned().flatten();
                let message = format!("var {} is unsafe", name.as_deref().unwrap_or("_"));
                return self.lowerer.fail("rego_unsafe_var_error", message, span);
            }
            Term::Array(items) => Operand::Array(self.operands(items, span)?),
            Term::Set(items) => Operand::Set(self.operands(items, span)?),
            Term::Object(members) => {
                let mut lowered = Vec::with_capacity(members.len());
                for (key, value) in members {
                    lowered.push((self.operand(key, span)?, self.operand(value, span)?));
                }
                Operand::Object(lowered.into())
            }
            Term::Ref(..) | Term::Comprehension(_) => {
                return self.lowerer.fail("eval_internal_error", "a term was not evaluated before", span);
            }
        })
    }

    /// A term as a pattern; its free variables become bound.
    pub(super) fn pattern(&mut self, term: &Term, span: Span) -> Lowered<Pattern> {
        if self.is_bound(term) {
            return self.operand(term, span).map(Pattern::Equal);
        }
        match term {
            Term::Var(var) => {
                self.bound.insert(*var);
                let wildcard = matches!(self.lowerer.names.get(*var as usize), Some(Some(name)) if &**name == "_");
                Ok(if wildcard { Pattern::Any } else { Pattern::Bind(*var) })
            }
            Term::Array(items) => {
                items.iter().map(|item| self.pattern(item, span)).collect::<Lowered<_>>().map(Pattern::Array)
            }
            Term::Object(members) => {
                let mut lowered = Vec::with_capacity(members.len());
                for (key, value) in members {
                    lowered.push((self.operand(key, span)?, self.pattern(value, span)?));
                }
                Ok(Pattern::Object(lowered.into()))
            }
            _ => self.operand(term, span).map(Pattern::Equal),
        }
    }

    /// Are all variables of the term bound?
    pub(super) fn is_bound(&self, term: &Term) -> bool {
        let mut free = false;
        term.each_var(&mut |var| free |= !self.bound.contains(&var));
        !free
    }

    pub(super) fn bind_all(&mut self, term: &Term) {
        let bound = &mut self.bound;
        term.each_var(&mut |var| {
            bound.insert(var);
        });
    }

    pub(super) fn constant(term: &Term) -> Option<&Value> {
        match term {
            Term::Const(value) => Some(value),
            _ => None,
        }
    }
}
