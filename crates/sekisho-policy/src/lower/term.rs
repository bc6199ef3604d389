//! Terms: what conditions compare.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use sekisho_rego::syntax::ast::InfixOp;
use sekisho_rego::value::Value;

use super::call::Call;
use super::facts::{FactCache, Facts, Path};
use crate::mask::is_sensitive;
use crate::schema;

#[derive(Debug, Clone)]
pub(crate) enum Term {
    Constant(Constant),
    Input(Path),
    Now,
    Arithmetic { op: InfixOp, left: Box<Term>, right: Box<Term> },
    Call { call: Box<Call>, arguments: Vec<Term> },
}

/// A value that stands in the policy, and how many values it is made of.
#[derive(Clone)]
pub(crate) struct Constant {
    pub value: Value,
    pub weight: usize,
}

/// Largest constant that is compared by its items; of larger ones only uses of the same name are alike.
const MAX_SHOWN: usize = 64;

/// What two equal constants have in common.
impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Array(items) if self.weight > MAX_SHOWN => write!(f, "{:p}", std::ptr::from_ref(&**items)),
            Value::Set(items) if self.weight > MAX_SHOWN => write!(f, "{:p}", std::ptr::from_ref(&**items)),
            value => write!(f, "{value:?}"),
        }
    }
}

/// The value of a term.
pub(super) enum TermValue<'a> {
    Value(Cow<'a, Value>),
    Undefined,
    /// Beyond what we compute as the engine would.
    Unknown,
}

impl Term {
    /// Arithmetic may leave what we compute, and a builtin may err.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Self::Constant(_) | Self::Input(_) | Self::Now => true,
            Self::Arithmetic { .. } => false,
            Self::Call { call, arguments } => call.is_certain(arguments.iter().all(Self::is_text)),
        }
    }

    /// Whether it is a text on any input, or undefined.
    pub(super) fn is_text(&self) -> bool {
        match self {
            Self::Constant(constant) => matches!(constant.value, Value::String(_)),
            Self::Input(path) => schema::is_text(&path.keys),
            Self::Now | Self::Arithmetic { .. } => false,
            Self::Call { call, arguments } => call.is_text(arguments.iter().all(Self::is_text)),
        }
    }

    /// How many terms it is made of.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Constant(_) | Self::Input(_) | Self::Now => 1,
            Self::Arithmetic { left, right, .. } => left.size() + right.size() + 1,
            Self::Call { arguments, .. } => arguments.iter().map(Self::size).sum::<usize>() + 1,
        }
    }

    pub(super) fn number(&mut self, slots: &mut BTreeMap<Vec<Value>, usize>) {
        match self {
            Self::Constant(_) | Self::Now => {}
            Self::Input(path) => {
                let next = slots.len();
                path.slot = *slots.entry(path.keys.clone()).or_insert(next);
            }
            Self::Arithmetic { left, right, .. } => {
                left.number(slots);
                right.number(slots);
            }
            Self::Call { arguments, .. } => arguments.iter_mut().for_each(|argument| argument.number(slots)),
        }
    }

    pub(super) fn is_query(&self) -> bool {
        matches!(self, Self::Input(path) if path.names == ["query"])
    }

    /// Whether what it names may hold a header that records mask.
    pub(super) fn shows_secrets(&self) -> bool {
        let derived = |term: &Self| term.shows_secrets() || term.is_query();
        match self {
            Self::Input(path) => match path.names.as_slice() {
                [] => true,
                [headers] => headers == "headers",
                [headers, name, ..] => headers == "headers" && is_sensitive(name),
            },
            Self::Arithmetic { left, right, .. } => [left, right].iter().any(|term| derived(term)),
            Self::Call { arguments, .. } => arguments.iter().any(derived),
            Self::Constant(_) | Self::Now => false,
        }
    }

    pub(super) const fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    /// The best explanation of a call that is false: its first argument that is not a constant.
    pub(super) fn looked_at(&self) -> &Self {
        match self {
            Self::Call { arguments, .. } => arguments.iter().find(|argument| !argument.is_constant()).unwrap_or(self),
            _ => self,
        }
    }

    pub(super) fn value<'a>(&'a self, facts: &'a FactCache<'_, impl Facts>) -> TermValue<'a> {
        match self {
            Self::Constant(constant) => TermValue::Value(Cow::Borrowed(&constant.value)),
            Self::Now => TermValue::Value(Cow::Owned(Value::from(facts.now.nanos()))),
            Self::Input(path) => match facts.at(path) {
                Some(value) => TermValue::Value(Cow::Borrowed(value)),
                None => TermValue::Undefined,
            },
            Self::Arithmetic { op, left, right } => {
                let (l, r) = match (left.value(facts), right.value(facts)) {
                    (TermValue::Value(l), TermValue::Value(r)) => (l, r),
                    (TermValue::Unknown, _) | (_, TermValue::Unknown) => return TermValue::Unknown,
                    _ => return TermValue::Undefined,
                };
                // What is not whole numbers of 64 bits may be an error, which would deny, or a number that is not one.
                let result = l.as_i64().zip(r.as_i64()).and_then(|(l, r)| match op {
                    InfixOp::Add => l.checked_add(r),
                    InfixOp::Subtract => l.checked_sub(r),
                    InfixOp::Multiply => l.checked_mul(r),
                    InfixOp::Divide => l.checked_rem(r).filter(|rest| *rest == 0).and_then(|_| l.checked_div(r)),
                    InfixOp::Remainder => l.checked_rem(r),
                    _ => None,
                });
                result.map_or(TermValue::Unknown, |result| TermValue::Value(Cow::Owned(Value::from(result))))
            }
            Self::Call { call, arguments } => called(call, arguments, facts),
        }
    }
}

/// A call with an undefined argument is undefined, once no other argument is an error.
fn called<'a>(call: &Call, arguments: &'a [Term], facts: &'a FactCache<'_, impl Facts>) -> TermValue<'a> {
    let (mut values, mut undefined) = (Vec::with_capacity(arguments.len()), false);
    for argument in arguments {
        match argument.value(facts) {
            TermValue::Value(value) => values.push(value.into_owned()),
            TermValue::Undefined => undefined = true,
            TermValue::Unknown => return TermValue::Unknown,
        }
    }
    let asked = facts.oracle.and_then(|oracle| oracle.answer(call.builtin.name(), &values));
    if undefined {
        return TermValue::Undefined;
    }
    match asked.map_or_else(|| call.answer(&values, &facts.context), |answer| answer.map(Some)) {
        Some(Some(value)) => TermValue::Value(Cow::Owned(value)),
        Some(None) => TermValue::Undefined,
        None => TermValue::Unknown,
    }
}
