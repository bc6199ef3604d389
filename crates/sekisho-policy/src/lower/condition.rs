//! Conditions, and their truth on one input.

use sekisho_rego::decision::{Comparison, Truth};
use sekisho_rego::value::Value;

use super::facts::{FactCache, Facts, Path};
use super::term::{Term, TermValue};
use crate::mask::{MASK, masked_query};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    Compare { op: Comparison, left: Term, right: Term },
    Member { item: Term, of: Term },
    Holds(Term),
    Not(Box<Condition>),
    Opaque,
}

impl Condition {
    /// Whether it is met or not met on any input.
    pub(super) fn is_certain(&self, paths: &[Path]) -> bool {
        match self {
            Self::Opaque => false,
            Self::Not(inner) => inner.is_certain(paths),
            Self::Holds(term) => term.is_certain(paths),
            Self::Compare { left, right, .. } | Self::Member { item: left, of: right } => {
                left.is_certain(paths) && right.is_certain(paths)
            }
        }
    }

    pub(crate) fn truth(&self, facts: &FactCache<'_, impl Facts>) -> Truth {
        let met = |holds: bool| if holds { Truth::Met } else { Truth::Unmet };
        match self {
            Self::Opaque => Truth::Unknown,
            Self::Not(inner) => match inner.truth(facts) {
                Truth::Met => Truth::Unmet,
                Truth::Unmet => Truth::Met,
                Truth::Unknown => Truth::Unknown,
            },
            Self::Holds(term) => match term.value(facts) {
                TermValue::Value(value) => met(*value != Value::Bool(false)),
                TermValue::Undefined => Truth::Unmet,
                TermValue::Unknown => Truth::Unknown,
            },
            Self::Compare { op, left, right } => match (left.value(facts), right.value(facts)) {
                (TermValue::Value(l), TermValue::Value(r)) => met(op.holds(l.cmp(&r))),
                (TermValue::Unknown, _) | (_, TermValue::Unknown) => Truth::Unknown,
                _ => Truth::Unmet,
            },
            Self::Member { item, of } => match (item.value(facts), of.value(facts)) {
                (TermValue::Value(item), TermValue::Value(of)) => met(match &*of {
                    Value::Array(items) => items.contains(&item),
                    Value::Set(items) => items.contains(&item),
                    Value::Object(members) => members.values().any(|value| *value == *item),
                    _ => false,
                }),
                (TermValue::Unknown, _) | (_, TermValue::Unknown) => Truth::Unknown,
                _ => Truth::Unmet,
            },
        }
    }

    /// What was found where the condition looked, for one that is not met.
    pub(crate) fn found(&self, facts: &FactCache<'_, impl Facts>) -> Option<Value> {
        let term = match self {
            Self::Opaque | Self::Not(_) => return None,
            Self::Holds(term) => term.looked_at(),
            Self::Member { item: term, .. } => term,
            Self::Compare { left, right, .. } => {
                if left.is_constant() {
                    right
                } else {
                    left
                }
            }
        };
        match term.value(facts) {
            // A record keeps no secret, wherever the condition read it.
            TermValue::Value(_) if term.shows_secrets(facts.paths) => Some(Value::from(MASK)),
            TermValue::Value(value) if term.is_query(facts.paths) => {
                value.as_str().map(|query| Value::from(masked_query(query)))
            }
            TermValue::Value(value) => Some(value.into_owned()),
            TermValue::Undefined | TermValue::Unknown => None,
        }
    }
}
