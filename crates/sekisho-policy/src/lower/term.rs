//! Terms: what conditions compare.

use std::borrow::Cow;
use std::collections::BTreeMap;

use regorus::Value;
use regorus::unstable::ArithOp;

use super::facts::{Facts, Memo};
use crate::record::is_sensitive;

#[derive(Debug, Clone)]
pub(crate) enum Term {
    Constant(Value),
    Input(Path),
    Now,
    Arithmetic { op: ArithOp, left: Box<Term>, right: Box<Term> },
}

/// A place in the input.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub names: Vec<String>,
    /// The same as keys of objects.
    pub keys: Vec<Value>,
    /// The same place has the same number in all rules of a set.
    pub slot: usize,
}

/// What a term comes to.
pub(super) enum Known<'a> {
    Value(Cow<'a, Value>),
    Undefined,
    /// Beyond what we compute as the engine would.
    Unknown,
}

impl Term {
    /// Arithmetic may leave what we compute.
    pub(super) const fn is_certain(&self) -> bool {
        !matches!(self, Self::Arithmetic { .. })
    }

    pub(super) fn number(&mut self, slots: &mut BTreeMap<Vec<String>, usize>) {
        match self {
            Self::Constant(_) | Self::Now => {}
            Self::Input(path) => {
                let next = slots.len();
                path.slot = *slots.entry(path.names.clone()).or_insert(next);
            }
            Self::Arithmetic { left, right, .. } => {
                left.number(slots);
                right.number(slots);
            }
        }
    }

    pub(super) fn is_query(&self) -> bool {
        matches!(self, Self::Input(path) if path.names == ["query"])
    }

    /// Whether what it names may hold a header that records mask.
    pub(super) fn shows_secrets(&self) -> bool {
        match self {
            Self::Input(path) => match path.names.as_slice() {
                [] => true,
                [headers] => headers == "headers",
                [headers, name, ..] => headers == "headers" && is_sensitive(name),
            },
            Self::Arithmetic { left, right, .. } => {
                [left, right].iter().any(|term| term.shows_secrets() || term.is_query())
            }
            Self::Constant(_) | Self::Now => false,
        }
    }

    pub(super) const fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    pub(super) fn value<'a>(&'a self, facts: &'a Memo<'_, impl Facts>) -> Known<'a> {
        match self {
            Self::Constant(value) => Known::Value(Cow::Borrowed(value)),
            Self::Now => Known::Value(Cow::Owned(Value::from(facts.now.nanos()))),
            Self::Input(path) => facts.at(path).map_or(Known::Undefined, |value| Known::Value(Cow::Borrowed(value))),
            Self::Arithmetic { op, left, right } => {
                let (l, r) = match (left.value(facts), right.value(facts)) {
                    (Known::Value(l), Known::Value(r)) => (l, r),
                    (Known::Unknown, _) | (_, Known::Unknown) => return Known::Unknown,
                    _ => return Known::Undefined,
                };
                // What is not whole numbers of 64 bits may be an error, which would deny, or a number that is not one.
                let result = whole(&l).zip(whole(&r)).and_then(|(l, r)| match op {
                    ArithOp::Add => l.checked_add(r),
                    ArithOp::Sub => l.checked_sub(r),
                    ArithOp::Mul => l.checked_mul(r),
                    ArithOp::Div => l.checked_rem(r).filter(|rest| *rest == 0).and_then(|_| l.checked_div(r)),
                    ArithOp::Mod => l.checked_rem(r),
                });
                result.map_or(Known::Unknown, |result| Known::Value(Cow::Owned(Value::from(result))))
            }
        }
    }
}

pub(super) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().ok()
}
