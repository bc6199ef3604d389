//! Conditions over places of the input, and their truth.

use std::cmp::Ordering;
use std::sync::Arc;

use super::pattern::Pattern;
use super::view::{Key, View};
use crate::builtins::block::{Block, bits};

/// The number of a place of the input: one of them for each path.
pub type Slot = u32;

/// The truth of a condition on one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    Met,
    /// It does not hold.
    Unmet,
    /// It may be an error, or is beyond what is decided here.
    Unknown,
}

/// A statement of a rule's body.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What is asked.
    pub test: Test,
    /// Whether the answer is to be no.
    pub negated: bool,
}

/// A condition as it is indexed, with the number that it has outside.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) number: u32,
    pub(super) test: Test,
    pub(super) negated: bool,
}

/// A question about the input.
#[derive(Clone, Debug)]
pub enum Test {
    /// The value is one of these.
    OneOf(Slot, Box<[Key]>),
    /// There is a value, and it is another one.
    Differs(Slot, Key),
    /// There is a value.
    Defined(Slot),
    /// There is a value, and it is not false.
    Holds(Slot),
    /// The text begins so.
    Begins(Slot, Arc<str>),
    /// The text ends so.
    Ends(Slot, Arc<str>),
    /// The text has this within it.
    Contains(Slot, Arc<str>),
    /// The text matches.
    Matches(Slot, Pattern),
    /// The text is an address of this block.
    Within(Slot, Network),
    /// The list has this text.
    Has(Slot, Arc<str>),
    /// Two values compare so.
    Compare(Comparison, Operand, Operand),
    /// The source of the values knows the answer.
    Foreign,
    /// Nothing here knows the answer, which is part of no rule that is decided here.
    Opaque,
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub(super) Block);

impl Network {
    /// Reads `10.0.0.0/8`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Network> {
        Block::parse(text).map(Network)
    }
}

/// A comparison of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `==`
    Equal,
    /// `>=`
    GreaterEqual,
    /// `>`
    Greater,
    /// `!=`
    NotEqual,
}

impl Comparison {
    /// Whether values in this order compare so.
    #[must_use]
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Less => order.is_lt(),
            Comparison::LessEqual => order.is_le(),
            Comparison::Equal => order.is_eq(),
            Comparison::GreaterEqual => order.is_ge(),
            Comparison::Greater => order.is_gt(),
            Comparison::NotEqual => order.is_ne(),
        }
    }
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A constant.
    Key(Key),
    /// The value at a place.
    Slot(Slot),
    /// What is computed.
    Number(Number),
}

/// A whole number that is computed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// A constant.
    Constant(i64),
    /// The time of the decision in nanoseconds since 1970.
    Now,
    /// The number at a place.
    Slot(Slot),
    /// How many characters a text has, or items a list.
    Length(Slot),
    /// Of two numbers.
    Of(Operator, Box<Number>, Box<Number>),
}

/// An operator of whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`, where nothing remains
    Divide,
    /// `%`
    Remainder,
}

impl Operator {
    /// The result; none where it does not fit a whole number of 64 bits.
    #[must_use]
    pub fn of(self, left: i64, right: i64) -> Option<i64> {
        match self {
            Operator::Add => left.checked_add(right),
            Operator::Subtract => left.checked_sub(right),
            Operator::Multiply => left.checked_mul(right),
            Operator::Divide => left.checked_rem(right).filter(|rest| *rest == 0).and_then(|_| left.checked_div(right)),
            Operator::Remainder => left.checked_rem(right),
        }
    }
}

/// Where values come from: one request.
pub trait Source {
    /// The value at a place.
    fn view(&self, slot: Slot) -> View<'_>;

    /// The time of the decision in nanoseconds since 1970.
    fn now(&self) -> i64;

    /// The truth of a condition whose test is [`Test::Foreign`], by its number.
    fn truth(&self, condition: u32) -> Truth;
}

/// What tests of one decision read. Work is a count of bytes, so that a replay has the same result.
pub(super) struct Reading<'a, S> {
    pub(super) source: &'a S,
    /// Values that were looked up already.
    views: [Option<View<'a>>; VIEWS],
    pub(super) work: u64,
}

/// So many slots are looked up once; beyond, each time. Rules rarely look at more places.
const VIEWS: usize = 24;

/// What a computation comes to.
enum Computed {
    Number(i64),
    Undefined,
    Unknown,
}

impl<'a, S: Source> Reading<'a, S> {
    pub(super) fn new(source: &'a S, work: u64) -> Self {
        Reading { source, views: [None; VIEWS], work }
    }

    pub(super) fn view(&mut self, slot: Slot) -> View<'a> {
        let Some(known) = self.views.get_mut(slot as usize) else { return self.source.view(slot) };
        *known.get_or_insert_with(|| self.source.view(slot))
    }

    /// Pays for reading a text; false where the work is used up.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        let left = self.work.checked_sub(bytes as u64 + 1);
        self.work = left.unwrap_or(0);
        left.is_some()
    }

    /// The truth of a test, `not` left aside. `condition` is its number.
    pub(super) fn truth(&mut self, condition: u32, test: &Test) -> Truth {
        match test {
            Test::OneOf(slot, keys) => {
                let view = self.view(*slot);
                met(keys.iter().any(|key| key.is(view)))
            }
            Test::Differs(slot, key) => {
                let view = self.view(*slot);
                met(view != View::Undefined && !key.is(view))
            }
            Test::Defined(slot) => met(self.view(*slot) != View::Undefined),
            Test::Holds(slot) => met(!matches!(self.view(*slot), View::Undefined | View::Bool(false))),
            Test::Begins(slot, part) => self.of_text(*slot, |text| text.starts_with(&**part)),
            Test::Ends(slot, part) => self.of_text(*slot, |text| text.ends_with(&**part)),
            Test::Contains(slot, part) => self.of_text(*slot, |text| text.contains(&**part)),
            Test::Matches(slot, pattern) => self.of_text(*slot, |text| pattern.is_match(text)),
            Test::Within(slot, network) => match self.view(*slot) {
                View::Undefined => Truth::Unmet,
                view => match view.text().and_then(address) {
                    Some(bits) => met(network.0.contains(bits)),
                    None => Truth::Unknown,
                },
            },
            Test::Has(slot, text) => {
                let view = self.view(*slot);
                met(matches!(view, View::Texts(items) if items.iter().any(|item| **item == **text)))
            }
            Test::Compare(op, left, right) => self.compare(*op, left, right),
            Test::Foreign => self.source.truth(condition),
            Test::Opaque => Truth::Unknown,
        }
    }

    fn of_text(&mut self, slot: Slot, asked: impl FnOnce(&str) -> bool) -> Truth {
        match self.view(slot) {
            View::Undefined => Truth::Unmet,
            View::Text(text) if self.spend(text.len().saturating_mul(2)) => met(asked(text)),
            _ => Truth::Unknown,
        }
    }

    fn compare(&mut self, op: Comparison, left: &Operand, right: &Operand) -> Truth {
        match (self.operand(left), self.operand(right)) {
            (Some(View::Undefined), Some(_)) | (Some(_), Some(View::Undefined)) => Truth::Unmet,
            (Some(left), Some(right)) => left.order(right).map_or(Truth::Unknown, |order| met(op.holds(order))),
            _ => Truth::Unknown,
        }
    }

    /// None where it is unknown.
    pub(super) fn operand<'b>(&mut self, operand: &'b Operand) -> Option<View<'b>>
    where
        'a: 'b,
    {
        match operand {
            Operand::Key(key) => key.view(),
            Operand::Slot(slot) => Some(self.view(*slot)),
            Operand::Number(number) => match self.number(number) {
                Computed::Number(number) => Some(View::Integer(number)),
                Computed::Undefined => Some(View::Undefined),
                Computed::Unknown => None,
            },
        }
    }

    fn number(&mut self, number: &Number) -> Computed {
        match number {
            Number::Constant(number) => Computed::Number(*number),
            Number::Now => Computed::Number(self.source.now()),
            Number::Slot(slot) => match self.view(*slot) {
                View::Integer(number) => Computed::Number(number),
                View::Undefined => Computed::Undefined,
                _ => Computed::Unknown,
            },
            Number::Length(slot) => match self.view(*slot) {
                View::Text(text) if self.spend(text.len()) => length(text.chars().count()),
                View::Texts(items) => length(items.len()),
                View::Undefined => Computed::Undefined,
                _ => Computed::Unknown,
            },
            Number::Of(operator, left, right) => match (self.number(left), self.number(right)) {
                (Computed::Number(left), Computed::Number(right)) => {
                    operator.of(left, right).map_or(Computed::Unknown, Computed::Number)
                }
                (Computed::Unknown, _) | (_, Computed::Unknown) => Computed::Unknown,
                _ => Computed::Undefined,
            },
        }
    }
}

/// The bits of an address.
pub(super) fn address(text: &str) -> Option<u128> {
    text.parse().ok().map(bits)
}

fn length(count: usize) -> Computed {
    i64::try_from(count).map_or(Computed::Unknown, Computed::Number)
}

fn met(holds: bool) -> Truth {
    if holds { Truth::Met } else { Truth::Unmet }
}
