//! Operands give values; patterns take them apart.

use std::borrow::Cow;

use super::descent::Below;
use super::machine::{COMPARED, Machine};
use super::val::Val;
use crate::program::{Operand, Pattern};
use crate::value::{Object, Value};

impl<'a> Machine<'a> {
    /// The value of an operand.
    pub(super) fn operand(&self, operand: &'a Operand, base: usize) -> Val<'a> {
        match operand {
            Operand::Const(value) => Val::Ref(value),
            Operand::Slot(slot) => self.slot(base, *slot).clone(),
            _ => Val::Own(self.build(operand, base)),
        }
    }

    /// The value of an operand, borrowed where it exists.
    #[inline]
    pub(super) fn peek<'m>(&'m self, operand: &'m Operand, base: usize) -> Cow<'m, Value> {
        match operand {
            Operand::Const(value) => Cow::Borrowed(value),
            Operand::Slot(slot) => Cow::Borrowed(self.slot(base, *slot)),
            _ => Cow::Owned(self.build(operand, base)),
        }
    }

    fn build(&self, operand: &Operand, base: usize) -> Value {
        let all = |items: &[Operand]| {
            self.charge(items.len() as u64 / COMPARED);
            items.iter().map(|item| self.build(item, base)).collect::<Vec<_>>()
        };
        match operand {
            Operand::Const(value) => value.clone(),
            Operand::Slot(slot) => Value::clone(self.slot(base, *slot)),
            Operand::Array(items) => Value::from(all(items)),
            Operand::Set(items) => self.set_of(all(items)),
            Operand::Object(members) => {
                let member = |(key, value): &(Operand, Operand)| (self.build(key, base), self.build(value, base));
                let members: Vec<_> = members.iter().map(member).collect();
                self.charge_members(&members);
                Value::Object(Object::from_vec(members))
            }
        }
    }

    /// Matches a value with a pattern and binds its variables.
    pub(super) fn matches(&mut self, pattern: &'a Pattern, value: Val<'a>, base: usize) -> bool {
        match pattern {
            Pattern::Any => true,
            Pattern::Bind(slot) => {
                self.set(base, *slot, value);
                true
            }
            Pattern::Equal(operand) => {
                let other = self.peek(operand, base);
                self.charge_compared(&other, &value);
                *other == *value
            }
            Pattern::Array(parts) => {
                value.as_array().is_some_and(|array| array.len() == parts.len())
                    && parts.iter().enumerate().all(|(at, part)| match value.item(at) {
                        Some((_, item)) => self.matches(part, item, base),
                        None => false,
                    })
            }
            Pattern::Object(parts) => {
                value.as_object().is_some_and(|object| object.len() == parts.len())
                    && parts.iter().all(|(key, part)| match value.get(&self.operand(key, base)) {
                        Some(item) => self.matches(part, item, base),
                        None => false,
                    })
            }
        }
    }

    /// Matches what a search found with the pattern of its pairs.
    pub(super) fn matches_below(&mut self, pattern: &'a Pattern, (path, value): Below<'a>, base: usize) -> bool {
        match pattern {
            Pattern::Any => true,
            Pattern::Array(parts) => match &**parts {
                [first, second] => self.matches(first, path, base) && self.matches(second, value, base),
                _ => false,
            },
            _ => {
                let pair = Value::from(vec![path.into_value(), value.into_value()]);
                self.matches(pattern, Val::Own(pair), base)
            }
        }
    }
}
