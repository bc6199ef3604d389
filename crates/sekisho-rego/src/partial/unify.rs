//! Terms made equal: what is known is compared now, the rest becomes literals.

use super::run::Evaluator;
use super::state::State;
use super::term::{Literal, Term};
use crate::program::Pattern;
use crate::value::Value;

impl<'a> Evaluator<'a> {
    /// Makes two terms equal; false where they never are.
    pub(super) fn unify(&mut self, state: &mut State<'a>, left: Term, right: Term) -> bool {
        match (&left, &right) {
            (Term::Const(a), Term::Const(b)) => a == b,
            (Term::Array(a), Term::Array(b)) => {
                a.len() == b.len() && a.clone().into_iter().zip(b.clone()).all(|(a, b)| self.unify(state, a, b))
            }
            (Term::Array(a), Term::Const(Value::Array(b))) | (Term::Const(Value::Array(b)), Term::Array(a)) => {
                let pairs: Vec<(Term, Term)> =
                    a.iter().cloned().zip(b.iter().map(|item| Term::Const(item.clone()))).collect();
                a.len() == b.len() && pairs.into_iter().all(|(a, b)| self.unify(state, a, b))
            }
            (a, b) if kind(a).zip(kind(b)).is_some_and(|(a, b)| a != b) => false,
            (a, b) if a == b => true,
            _ => {
                self.push(state, Literal::Equal(left, right));
                true
            }
        }
    }

    /// Matches a term with a pattern; false where it never matches.
    pub(super) fn matches(&mut self, state: &mut State<'a>, pattern: &'a Pattern, term: Term) -> bool {
        match (pattern, &term) {
            (Pattern::Any, _) => true,
            (Pattern::Bind(slot), _) => {
                state.set(*slot, term);
                true
            }
            (Pattern::Equal(operand), _) => {
                let other = state.term(operand);
                self.unify(state, term, other)
            }
            (Pattern::Array(parts), Term::Array(items)) => {
                let items = items.clone();
                parts.len() == items.len()
                    && parts.iter().zip(items).all(|(part, item)| self.matches(state, part, item))
            }
            (Pattern::Array(parts), Term::Const(value)) => match value.as_array() {
                Some(items) if items.len() == parts.len() => {
                    let items: Vec<Term> = items.iter().cloned().map(Term::Const).collect();
                    parts.iter().zip(items).all(|(part, item)| self.matches(state, part, item))
                }
                _ => false,
            },
            (Pattern::Object(parts), Term::Const(value)) => {
                let Some(object) = value.as_object().filter(|object| object.len() == parts.len()) else {
                    return false;
                };
                let keys: Vec<Term> = parts.iter().map(|(key, _)| state.term(key)).collect();
                if keys.iter().any(|key| key.as_const().is_none()) {
                    let other = self.pattern_term(state, pattern);
                    return self.unify(state, other, term);
                }
                parts.iter().zip(keys).all(|((_, part), key)| {
                    let item = key.as_const().and_then(|key| object.get(key)).cloned();
                    item.is_some_and(|item| self.matches(state, part, Term::Const(item)))
                })
            }
            _ => {
                let other = self.pattern_term(state, pattern);
                if kind(&other).zip(kind(&term)).is_some_and(|(a, b)| a != b) {
                    return false;
                }
                self.push(state, Literal::Equal(other, term));
                true
            }
        }
    }

    /// The pattern as a term with new variables, which its slots stand for.
    pub(super) fn pattern_term(&mut self, state: &mut State<'a>, pattern: &'a Pattern) -> Term {
        match pattern {
            Pattern::Any => Term::Var(self.fresh()),
            Pattern::Bind(slot) => {
                let var = Term::Var(self.fresh());
                state.set(*slot, var.clone());
                var
            }
            Pattern::Equal(operand) => state.term(operand),
            Pattern::Array(parts) => {
                super::state::array(parts.iter().map(|part| self.pattern_term(state, part)).collect())
            }
            Pattern::Object(parts) => {
                let member = |(key, part): &'a (_, _)| (state.term(key), part);
                let members: Vec<(Term, &'a Pattern)> = parts.iter().map(member).collect();
                Term::Object(members.into_iter().map(|(key, part)| (key, self.pattern_term(state, part))).collect())
            }
        }
    }
}

/// What a term is whatever the unknowns come to: an array, an object, a set or another value.
fn kind(term: &Term) -> Option<u8> {
    match term {
        Term::Array(_) | Term::Const(Value::Array(_)) => Some(0),
        Term::Object(_) | Term::Const(Value::Object(_)) => Some(1),
        Term::Set(_) | Term::Const(Value::Set(_)) => Some(2),
        Term::Const(_) => Some(3),
        _ => None,
    }
}
