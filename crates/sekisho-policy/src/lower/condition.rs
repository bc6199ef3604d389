//! Conditions, and their truth on one input.

use std::collections::BTreeMap;

use sekisho_rego::value::Value;

use super::facts::{FactCache, Facts, Truth};
use super::term::{Term, TermValue};
use crate::mask::{MASK, masked_query};

#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Compare { op: Comparison, left: Term, right: Term },
    Member { item: Term, of: Term },
    Holds(Term),
    Not(Box<Condition>),
    Opaque,
}

/// A condition and its line.
#[derive(Debug, Clone)]
pub(crate) struct StatedCondition {
    pub line: u32,
    pub text: String,
    pub condition: Condition,
    /// Equal conditions have the same number, in all rules.
    pub(super) number: usize,
}

impl StatedCondition {
    /// Its truth; equal conditions are evaluated once.
    pub(crate) fn truth(&self, facts: &FactCache<'_, impl Facts>) -> Truth {
        facts.once(self.number, || self.condition.truth(facts))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessEqual,
    Equal,
    GreaterEqual,
    Greater,
    NotEqual,
}

impl Condition {
    /// Whether the lowering covers it completely.
    pub(super) fn is_clear(&self) -> bool {
        match self {
            Self::Opaque => false,
            Self::Not(inner) => inner.is_clear(),
            Self::Compare { .. } | Self::Member { .. } | Self::Holds(_) => true,
        }
    }

    /// Whether it is met or not met on any input.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Self::Opaque => false,
            Self::Not(inner) => inner.is_certain(),
            Self::Holds(term) => term.is_certain(),
            Self::Compare { left, right, .. } | Self::Member { item: left, of: right } => {
                left.is_certain() && right.is_certain()
            }
        }
    }

    /// Numbers the places that it looks at.
    pub(super) fn number(&mut self, slots: &mut BTreeMap<Vec<Value>, usize>) {
        match self {
            Self::Opaque => {}
            Self::Not(inner) => inner.number(slots),
            Self::Holds(term) => term.number(slots),
            Self::Compare { left, right, .. } | Self::Member { item: left, of: right } => {
                left.number(slots);
                right.number(slots);
            }
        }
    }

    pub(super) fn truth(&self, facts: &FactCache<'_, impl Facts>) -> Truth {
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
                (TermValue::Value(l), TermValue::Value(r)) => met(op.holds(&l, &r)),
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
            TermValue::Value(_) if term.shows_secrets() => Some(Value::from(MASK)),
            TermValue::Value(value) if term.is_query() => value.as_str().map(|query| Value::from(masked_query(query))),
            TermValue::Value(value) => Some(value.into_owned()),
            TermValue::Undefined | TermValue::Unknown => None,
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessEqual => left <= right,
            Self::Equal => left == right,
            Self::GreaterEqual => left >= right,
            Self::Greater => left > right,
            Self::NotEqual => left != right,
        }
    }
}
