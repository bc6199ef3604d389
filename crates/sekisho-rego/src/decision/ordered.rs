//! Bounds of one number, sorted: those that it keeps are one end of a list.

use super::condition::{Comparison, Operand, Test};
use super::view::Key;

/// Conditions that compare one number with constants.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) operand: Operand,
    /// Greatest values that are allowed, in ascending order, and their conditions.
    most: Box<[(i64, u32)]>,
    /// Least values that are allowed, in ascending order.
    least: Box<[(i64, u32)]>,
    /// All conditions, for a value of another kind.
    pub(super) conditions: Box<[u32]>,
}

/// What a condition says of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Most(i64),
    Least(i64),
    Never,
}

/// A test as a bound of what it compares; none for other tests.
pub(super) fn bound(test: &Test) -> Option<(&Operand, Bound)> {
    let (op, operand, constant) = match test {
        Test::Compare(op, operand, Operand::Key(Key::Integer(constant))) => (*op, operand, *constant),
        Test::Compare(op, Operand::Key(Key::Integer(constant)), operand) => (mirrored(*op), operand, *constant),
        _ => return None,
    };
    let bound = match op {
        Comparison::Less => constant.checked_sub(1).map_or(Bound::Never, Bound::Most),
        Comparison::LessEqual => Bound::Most(constant),
        Comparison::Greater => constant.checked_add(1).map_or(Bound::Never, Bound::Least),
        Comparison::GreaterEqual => Bound::Least(constant),
        Comparison::Equal | Comparison::NotEqual => return None,
    };
    Some((operand, bound))
}

fn mirrored(op: Comparison) -> Comparison {
    match op {
        Comparison::Less => Comparison::Greater,
        Comparison::LessEqual => Comparison::GreaterEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterEqual => Comparison::LessEqual,
        same => same,
    }
}

impl Bounds {
    pub(super) fn new(operand: Operand, bounds: &[(Bound, u32)]) -> Self {
        let sorted = |of: fn(Bound) -> Option<i64>| {
            let mut list: Vec<(i64, u32)> =
                bounds.iter().filter_map(|(bound, condition)| Some((of(*bound)?, *condition))).collect();
            list.sort_unstable();
            list.into_boxed_slice()
        };
        Bounds {
            operand,
            most: sorted(|bound| if let Bound::Most(most) = bound { Some(most) } else { None }),
            least: sorted(|bound| if let Bound::Least(least) = bound { Some(least) } else { None }),
            conditions: bounds.iter().map(|(_, condition)| *condition).collect(),
        }
    }

    /// The conditions that a number meets.
    pub(super) fn met(&self, number: i64) -> impl Iterator<Item = u32> {
        let most = self.most.get(self.most.partition_point(|(most, _)| *most < number)..);
        let least = self.least.get(..self.least.partition_point(|(least, _)| *least <= number));
        most.into_iter().chain(least).flatten().map(|(_, condition)| *condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_finds_the_bounds_that_it_keeps() {
        let ops = [Comparison::Less, Comparison::LessEqual, Comparison::GreaterEqual, Comparison::Greater];
        let numbers = [i64::MIN, -1, 0, 1, 2, i64::MAX];
        let mut tests = Vec::new();
        for (op, constant) in ops.iter().flat_map(|op| numbers.map(|number| (*op, number))) {
            let key = || Operand::Key(Key::Integer(constant));
            tests.push((op, constant, Test::Compare(op, Operand::Slot(0), key())));
            tests.push((op, constant, Test::Compare(mirrored(op), key(), Operand::Slot(0))));
        }
        let bounds: Vec<(Bound, u32)> =
            tests.iter().zip(0..).map(|((_, _, test), number)| (bound(test).unwrap().1, number)).collect();
        let index = Bounds::new(Operand::Slot(0), &bounds);
        for number in numbers {
            let mut met: Vec<u32> = index.met(number).collect();
            met.sort_unstable();
            let holds = |(op, constant, _): &(Comparison, i64, Test)| op.holds(number.cmp(constant));
            let wanted: Vec<u32> = tests.iter().zip(0..).filter(|(test, _)| holds(test)).map(|(_, at)| at).collect();
            assert_eq!(met, wanted, "{number}");
        }
    }
}
