//! Unification of two terms as steps: what is bound is matched with the pattern of what is not.

use super::core::{Head, Term};
use super::emit::Emitter;
use super::lower::Lowered;
use super::order::same_key;
use super::step::{Operand, Pattern, Step, StepKind};
use crate::syntax::ast::Span;
use crate::value::Value;

impl Emitter<'_, '_> {
    /// Unifies two terms; references and comprehensions may stand at their tops only.
    pub(super) fn unify(&mut self, left: &Term, right: &Term, span: Span, steps: &mut Vec<Step>) -> Lowered<()> {
        if let (Term::Var(var), Term::Ref(head, path)) | (Term::Ref(head, path), Term::Var(var)) = (left, right)
            && !self.bound.contains(var)
            && !path.is_empty()
        {
            let mut within = false;
            path.iter().for_each(|key| key.each_var(&mut |key| within |= key == *var));
            if !within {
                return self.reference(*head, path, *var, span, steps);
            }
        }
        if let (Term::Var(var), Term::Comprehension(inner)) | (Term::Comprehension(inner), Term::Var(var)) =
            (left, right)
            && !self.bound.contains(var)
        {
            return self.collect(inner, *var, steps);
        }
        // The reference whose head waits for the other side comes last.
        let waits = |term: &Term| matches!(term, Term::Ref(Head::Var(var), _) if !self.bound.contains(var));
        let (left, right) = if waits(left) { (right, left) } else { (left, right) };
        let left = self.value_of(left, span, steps)?;
        let right = self.value_of(right, span, steps)?;
        self.pairs(vec![(left, right)], span, steps)
    }

    /// Unifies pairs of terms, those first that can be.
    fn pairs(&mut self, mut pairs: Vec<(Term, Term)>, span: Span, steps: &mut Vec<Step>) -> Lowered<()> {
        while !pairs.is_empty() {
            let mut later = Vec::new();
            let before = pairs.len();
            let mut split = false;
            for (left, right) in pairs {
                match (self.is_bound(&left), self.is_bound(&right)) {
                    (true, _) => self.matched(&left, &right, span, steps)?,
                    (false, true) => self.matched(&right, &left, span, steps)?,
                    (false, false) => match parts(&left, &right) {
                        Parts::Pairs(inner) => {
                            split = true;
                            later.extend(inner);
                        }
                        Parts::Whole => later.push((left, right)),
                        Parts::Never => {
                            self.bind_all(&left);
                            self.bind_all(&right);
                            steps.push(Step { kind: StepKind::Fail, span });
                        }
                    },
                }
            }
            if later.len() >= before && !split {
                return self.stuck(later, span);
            }
            pairs = later;
        }
        Ok(())
    }

    fn stuck(&mut self, pairs: Vec<(Term, Term)>, span: Span) -> Lowered<()> {
        let mut name = None;
        for (left, right) in &pairs {
            for term in [left, right] {
                term.each_var(&mut |var| {
                    if name.is_none() && !self.bound.contains(&var) {
                        name = self.lowerer.names.get(var as usize).cloned().flatten();
                    }
                });
            }
        }
        let message = format!("var {} is unsafe", name.as_deref().unwrap_or("_"));
        self.lowerer.fail("rego_unsafe_var_error", message, span)
    }

    fn matched(&mut self, value: &Term, pattern: &Term, span: Span, steps: &mut Vec<Step>) -> Lowered<()> {
        if let (Some(a), Some(b)) = (Self::constant(value), Self::constant(pattern)) {
            if a != b {
                steps.push(Step { kind: StepKind::Fail, span });
            }
            return Ok(());
        }
        let value = self.operand(value, span)?;
        let pattern = self.pattern(pattern, span)?;
        let (value, pattern) = match (value, pattern) {
            (Operand::Const(constant), Pattern::Equal(operand)) => (operand, Pattern::Equal(Operand::Const(constant))),
            other => other,
        };
        steps.push(Step { kind: StepKind::Match { value, pattern }, span });
        Ok(())
    }
}

enum Parts {
    Pairs(Vec<(Term, Term)>),
    /// They cannot be taken apart yet.
    Whole,
    /// They are never equal.
    Never,
}

fn parts(left: &Term, right: &Term) -> Parts {
    match (left, right) {
        (Term::Array(a), Term::Array(b)) if a.len() == b.len() => {
            Parts::Pairs(a.iter().cloned().zip(b.iter().cloned()).collect())
        }
        (Term::Object(a), Term::Object(b)) if a.len() == b.len() => {
            let mut pairs = Vec::with_capacity(a.len());
            for (key, value) in a {
                match b.iter().find(|(other, _)| same_key(key, other)) {
                    Some((_, other)) => pairs.push((value.clone(), other.clone())),
                    None if constant_keys(a) && constant_keys(b) => return Parts::Never,
                    None => return Parts::Whole,
                }
            }
            Parts::Pairs(pairs)
        }
        (Term::Var(_), _) | (_, Term::Var(_)) => Parts::Whole,
        _ => Parts::Never,
    }
}

fn constant_keys(members: &[(Term, Term)]) -> bool {
    members.iter().all(|(key, _)| matches!(key, Term::Const(Value::String(_)) | Term::Const(_)))
}
