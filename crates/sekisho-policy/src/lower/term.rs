//! Terms: what conditions compare.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use sekisho_rego::decision::Operator;
use sekisho_rego::value::Value;

use super::call::Call;
use super::facts::{FactCache, Facts, Path};
use crate::mask::is_sensitive;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Term {
    Constant(Constant),
    /// The place with this number.
    Input(u32),
    Now,
    Arithmetic {
        op: Operator,
        left: Box<Term>,
        right: Box<Term>,
    },
    Call {
        call: Box<Call>,
        arguments: Vec<Term>,
    },
}

/// A value that stands in the policy, and how many values it is made of.
#[derive(Debug, Clone)]
pub(crate) struct Constant {
    pub value: Value,
    pub weight: usize,
}

/// Largest constant that is compared by its items; of larger ones only uses of the same name are alike.
const MAX_COMPARED: usize = 64;

impl Constant {
    /// Where a large list or set is.
    fn address(&self) -> Option<usize> {
        match &self.value {
            Value::Array(items) if self.weight > MAX_COMPARED => Some(std::ptr::from_ref(&**items).addr()),
            Value::Set(items) if self.weight > MAX_COMPARED => Some(std::ptr::from_ref(&**items).addr()),
            _ => None,
        }
    }
}

impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        match (self.address(), other.address()) {
            (None, None) => self.value == other.value,
            (ours, theirs) => ours == theirs,
        }
    }
}

impl Eq for Constant {}

impl Hash for Constant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.address() {
            Some(address) => address.hash(state),
            None => self.value.hash(state),
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
    pub(super) fn is_certain(&self, paths: &[Path]) -> bool {
        match self {
            Self::Constant(_) | Self::Input(_) | Self::Now => true,
            Self::Arithmetic { .. } => false,
            Self::Call { call, arguments } => call.is_certain(arguments.iter().all(|given| given.is_text(paths))),
        }
    }

    /// Whether it is a text on any input, or undefined.
    fn is_text(&self, paths: &[Path]) -> bool {
        match self {
            Self::Constant(constant) => matches!(constant.value, Value::String(_)),
            Self::Input(slot) => paths.get(*slot as usize).is_some_and(|path| path.text),
            Self::Now | Self::Arithmetic { .. } => false,
            Self::Call { call, arguments } => call.is_text(arguments.iter().all(|given| given.is_text(paths))),
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

    pub(super) fn is_query(&self, paths: &[Path]) -> bool {
        matches!(self, Self::Input(slot) if paths.get(*slot as usize).is_some_and(|path| path.names == ["query"]))
    }

    /// Whether what it names may hold a header that records mask.
    pub(super) fn shows_secrets(&self, paths: &[Path]) -> bool {
        let derived = |term: &Self| term.shows_secrets(paths) || term.is_query(paths);
        match self {
            Self::Input(slot) => match paths.get(*slot as usize).map(|path| path.names.as_slice()) {
                None | Some([]) => true,
                Some([headers]) => headers == "headers",
                Some([headers, name, ..]) => headers == "headers" && is_sensitive(name),
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
            Self::Input(slot) => match facts.at(*slot) {
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
                let result = l.as_i64().zip(r.as_i64()).and_then(|(l, r)| op.of(l, r));
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
