//! Building a table from conditions and the rules that have them.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::{Condition, Inner, Slot, Test};
use super::equal::Equals;
use super::interner::Interner;
use super::ordered::{Bound, Bounds, bound};
use super::prefixes::{Beginning, Ending, Prefixes};
use super::rows::RowSet;
use super::table::{Flag, Own, Place, Row, SlotIndex, Table};
use super::view::Key;
use crate::builtins::block::Block;

/// A condition of more rules than these counts for rows of rules.
const FEW: usize = 32;

/// Fewer bounds of a number are asked one by one.
const MANY_BOUNDS: usize = 8;

/// A rule: a body whose conditions all have to be met.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The numbers of its conditions; one that stands in it twice counts twice.
    pub conditions: Vec<u32>,
    /// Whether it allows by itself, if all of them are met.
    pub decides: bool,
}

impl Table {
    /// The table of these rules. Conditions with texts read up to `work` bytes in a decision.
    #[must_use]
    pub fn new(conditions: &[Condition], rules: &[Rule], work: u64) -> Table {
        let (inner, parts) = take_apart(conditions);
        let mut uses: Vec<Vec<Use>> = rules.iter().map(|rule| uses_of(rule, &parts)).collect();
        let mut counts = vec![0_usize; inner.len()];
        for used in uses.iter().flatten() {
            counts.get_mut(used.condition as usize).into_iter().for_each(|count| *count += 1);
        }
        let is_few = |condition: u32| counts.get(condition as usize).is_none_or(|count| *count <= FEW);
        let (places, postings) = few(&inner, &uses, is_few);
        let unmet_at_first = |used: &Use| {
            is_few(used.condition) && inner.get(used.condition as usize).is_some_and(|inner| !inner.negated)
        };
        let base: Vec<usize> =
            uses.iter().map(|uses| uses.iter().filter(|used| unmet_at_first(used)).count()).collect();
        uses.iter_mut().for_each(|uses| uses.retain(|used| !is_few(used.condition)));
        let opaque = |rule: &Rule| rule.conditions.iter().filter(|number| is_opaque(conditions, **number)).count();
        let signatures = rules.iter().zip(uses).zip(base).map(|((rule, uses), base)| Signature {
            uses,
            base,
            decides: rule.decides,
            opaque: u32::try_from(opaque(rule)).unwrap_or(u32::MAX),
        });
        let rows = Rows::new(signatures.collect());
        let (flags, columns, owns) = rows.flags(&inner, places.len());
        let mut places = places;
        for (flag, condition) in (0_u32..).zip(&flags.conditions) {
            places.get_mut(*condition as usize).into_iter().for_each(|place| *place = Place::Many(flag));
        }
        let (slots, tests) = index(&inner, &counts);
        let (bounds, tests) = bounds(&inner, tests);
        let (planes, depth) = rows.planes();
        Table {
            slots,
            places: places.into(),
            bounds: bounds.into(),
            tests: tests.into(),
            postings: postings.into(),
            flags: flags.flags.into(),
            columns,
            owns,
            rules: rows.members.concat().into(),
            rows: rows.rows(),
            row_of: rows.row_of.into(),
            planes: planes.into(),
            depth,
            work,
            conditions: inner.into(),
        }
    }
}

fn is_opaque(conditions: &[Condition], number: u32) -> bool {
    conditions.get(number as usize).is_none_or(|condition| matches!(condition.test, Test::Opaque))
}

/// A condition in a rule; `again` counts how often it stood there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Use {
    condition: u32,
    again: u32,
}

/// The conditions as they are indexed, and of which of them each given one is made.
///
/// `x != c` is two: there is an `x`, and not `x == c`. Never more than one of the two is unmet.
fn take_apart(conditions: &[Condition]) -> (Vec<Inner>, Vec<Vec<u32>>) {
    let mut inner: Vec<Inner> = Vec::with_capacity(conditions.len());
    let mut defined: BTreeMap<Slot, u32> = BTreeMap::new();
    let mut parts = Vec::with_capacity(conditions.len());
    for (number, condition) in (0_u32..).zip(conditions) {
        let Condition { test, negated } = condition;
        let next = u32::try_from(inner.len()).unwrap_or(u32::MAX);
        match test {
            Test::Opaque => parts.push(Vec::new()),
            Test::Differs(slot, key) if !negated => {
                inner.push(Inner { number, test: Test::OneOf(*slot, [key.clone()].into()), negated: true });
                let there = *defined.entry(*slot).or_insert_with(|| {
                    inner.push(Inner { number, test: Test::Defined(*slot), negated: false });
                    next + 1
                });
                parts.push(vec![next, there]);
            }
            _ => {
                inner.push(Inner { number, test: test.clone(), negated: *negated });
                parts.push(vec![next]);
            }
        }
    }
    (inner, parts)
}

fn uses_of(rule: &Rule, parts: &[Vec<u32>]) -> Vec<Use> {
    let parts = rule.conditions.iter().filter_map(|number| parts.get(*number as usize)).flatten();
    let mut uses: Vec<Use> = parts.map(|condition| Use { condition: *condition, again: 0 }).collect();
    uses.sort_unstable();
    let mut before: Option<Use> = None;
    for used in &mut uses {
        if let Some(before) = before.filter(|before| before.condition == used.condition) {
            used.again = before.again + 1;
        }
        before = Some(*used);
    }
    uses
}

/// The rules of each condition that few have.
fn few(inner: &[Inner], uses: &[Vec<Use>], is_few: impl Fn(u32) -> bool) -> (Vec<Place>, Vec<u32>) {
    let mut rules: Vec<Vec<u32>> = vec![Vec::new(); inner.len()];
    for (rule, uses) in (0_u32..).zip(uses) {
        for used in uses.iter().filter(|used| is_few(used.condition)) {
            rules.get_mut(used.condition as usize).into_iter().for_each(|rules| rules.push(rule));
        }
    }
    let mut postings: Vec<u32> = Vec::new();
    let end = |postings: &Vec<u32>| u32::try_from(postings.len()).unwrap_or(u32::MAX);
    let place = |(inner, rules): (&Inner, Vec<u32>)| {
        let begin = end(&postings);
        postings.extend(rules);
        Place::Few { begin, end: end(&postings), step: if inner.negated { 1 } else { -1 } }
    };
    (inner.iter().zip(rules).map(place).collect(), postings)
}

/// What the rules of a row have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Signature {
    uses: Vec<Use>,
    /// Unmet conditions that few rules have, before any is met.
    base: usize,
    decides: bool,
    opaque: u32,
}

struct Rows {
    signatures: Vec<Signature>,
    members: Vec<Vec<u32>>,
    row_of: Vec<u32>,
}

struct Flags {
    conditions: Vec<u32>,
    flags: Vec<Flag>,
}

impl Rows {
    fn new(of_rules: Vec<Signature>) -> Rows {
        let mut signatures = Interner::default();
        let row_of: Vec<u32> = of_rules.into_iter().map(|signature| signatures.number(signature)).collect();
        let signatures = signatures.into_items();
        let mut members = vec![Vec::new(); signatures.len()];
        for (rule, row) in (0_u32..).zip(&row_of) {
            members.get_mut(*row as usize).into_iter().for_each(|members| members.push(rule));
        }
        Rows { signatures, members, row_of }
    }

    fn rows(&self) -> Box<[Row]> {
        let mut begin = 0;
        let row = |(signature, members): (&Signature, &Vec<u32>)| {
            let end = begin + u32::try_from(members.len()).unwrap_or(u32::MAX);
            Row { begin: std::mem::replace(&mut begin, end), end, decides: signature.decides, opaque: signature.opaque }
        };
        self.signatures.iter().zip(&self.members).map(row).collect()
    }

    /// The counts before anything is met, and how many planes the highest count needs.
    fn planes(&self) -> (Vec<u64>, usize) {
        let most = self.signatures.iter().map(|signature| signature.base + signature.uses.len()).max().unwrap_or(0);
        let depth = (usize::BITS - most.leading_zeros()).max(1) as usize;
        let mut planes = vec![0_u64; self.signatures.len().div_ceil(64) * depth];
        for (row, signature) in self.signatures.iter().enumerate() {
            let planes = planes.iter_mut().skip(row / 64 * depth).take(depth);
            planes.enumerate().for_each(|(plane, word)| *word |= (signature.base as u64 >> plane & 1) << (row % 64));
        }
        (planes, depth)
    }

    /// Conditions of many rules: those that compare one place with constants share a column, the others have their own.
    fn flags(&self, inner: &[Inner], conditions: usize) -> (Flags, Box<[RowSet]>, Box<[Own]>) {
        let words = self.signatures.len().div_ceil(64);
        let mut rows: BTreeMap<Use, Vec<u32>> = BTreeMap::new();
        for (row, signature) in (0_u32..).zip(&self.signatures) {
            signature.uses.iter().for_each(|used| rows.entry(*used).or_default().push(row));
        }
        let shared = self.shared(inner, conditions);
        let numbers: BTreeMap<u32, u32> =
            rows.keys().map(|used| used.condition).collect::<BTreeSet<_>>().into_iter().zip(0..).collect();
        let mut flags = Flags { conditions: numbers.keys().copied().collect(), flags: Vec::new() };
        flags.flags.extend(numbers.keys().map(|_| Flag { column: None }));
        let (mut columns, mut owns): (BTreeMap<Slot, (u32, Vec<u32>)>, _) = (BTreeMap::new(), Vec::new());
        for (used, rows) in rows {
            let flag = numbers.get(&used.condition).copied().unwrap_or_default();
            let negated = inner.get(used.condition as usize).is_some_and(|inner| inner.negated);
            match shared.get(&used.condition).filter(|_| used.again == 0) {
                Some(slot) => {
                    let next = u32::try_from(columns.len()).unwrap_or(u32::MAX);
                    let (column, looks) = columns.entry(*slot).or_insert((next, Vec::new()));
                    looks.extend(&rows);
                    if let Some(flag) = flags.flags.get_mut(flag as usize) {
                        flag.column = Some((*column, RowSet::new(rows, words)));
                    }
                }
                None => owns.push(Own { flag, negated, rows: RowSet::new(rows, words) }),
            }
        }
        let mut columns: Vec<(u32, Vec<u32>)> = columns.into_values().collect();
        columns.sort_unstable_by_key(|(number, _)| *number);
        let columns = columns.into_iter().map(|(_, mut looks)| {
            looks.sort_unstable();
            RowSet::new(looks, words)
        });
        (flags, columns.collect(), owns.into())
    }

    /// Conditions that can share the column of their slot: no row has two of them.
    fn shared(&self, inner: &[Inner], conditions: usize) -> BTreeMap<u32, Slot> {
        let slot = |used: &Use| match inner.get(used.condition as usize) {
            Some(Inner { test: Test::OneOf(slot, _), negated: false, .. }) => Some(*slot),
            _ => None,
        };
        let mut alone = vec![false; conditions];
        for signature in &self.signatures {
            let mut seen: BTreeMap<Slot, u32> = BTreeMap::new();
            for (used, slot) in signature.uses.iter().filter_map(|used| Some((used, slot(used)?))) {
                if *seen.entry(slot).or_insert(used.condition) != used.condition {
                    alone.get_mut(used.condition as usize).into_iter().for_each(|alone| *alone = true);
                }
            }
        }
        let all = self.signatures.iter().flat_map(|signature| &signature.uses);
        let can = all.filter(|used| !alone.get(used.condition as usize).copied().unwrap_or(true));
        can.filter_map(|used| Some((used.condition, slot(used)?))).collect()
    }
}

#[derive(Default)]
struct Indexed {
    equals: Vec<(Key, u32)>,
    beginnings: Vec<(Beginning, u32)>,
    endings: Vec<(Ending, u32)>,
    blocks: Vec<(Block, u32)>,
}

/// The indexes by slot, and the conditions that none answers.
fn index(inner: &[Inner], counts: &[usize]) -> (Box<[SlotIndex]>, Vec<u32>) {
    let (mut slots, mut tests): (BTreeMap<Slot, Indexed>, _) = (BTreeMap::new(), Vec::new());
    let used = |(number, _): &(u32, &Inner)| counts.get(*number as usize).is_some_and(|count| *count > 0);
    for (number, Inner { test, .. }) in (0_u32..).zip(inner).filter(used) {
        match test {
            Test::OneOf(slot, keys) => {
                let keys = keys.iter().map(|key| (key.clone(), number));
                slots.entry(*slot).or_default().equals.extend(keys);
            }
            Test::Begins(slot, text) => {
                slots.entry(*slot).or_default().beginnings.push((Beginning((&**text).into()), number));
            }
            Test::Matches(slot, pattern) if !pattern.prefix().is_empty() => {
                slots.entry(*slot).or_default().beginnings.push((Beginning(pattern.prefix().into()), number));
            }
            Test::Ends(slot, text) => {
                slots.entry(*slot).or_default().endings.push((Ending((&**text).into()), number));
            }
            Test::Within(slot, network) => slots.entry(*slot).or_default().blocks.push((network.0, number)),
            _ => tests.push(number),
        }
    }
    let slot = |(slot, indexed): (Slot, Indexed)| SlotIndex {
        slot,
        equals: Equals::new(indexed.equals),
        beginnings: Prefixes::new(indexed.beginnings),
        endings: Prefixes::new(indexed.endings),
        blocks: Prefixes::new(indexed.blocks),
    };
    (slots.into_iter().map(slot).collect(), tests)
}

/// The bounds of numbers that have many, and the conditions that are left.
fn bounds(inner: &[Inner], tests: Vec<u32>) -> (Vec<Bounds>, Vec<u32>) {
    let of = |test: &u32| bound(&inner.get(*test as usize)?.test);
    let mut operands = Interner::default();
    let mut found: Vec<Vec<(Bound, u32)>> = Vec::new();
    for test in &tests {
        let Some((operand, bound)) = of(test) else { continue };
        let number = operands.number(operand.clone()) as usize;
        found.resize_with(found.len().max(number + 1), Vec::new);
        found.get_mut(number).into_iter().for_each(|found| found.push((bound, *test)));
    }
    let many = operands.into_items().into_iter().zip(found).filter(|(_, found)| found.len() >= MANY_BOUNDS);
    let bounds: Vec<Bounds> = many.map(|(operand, found)| Bounds::new(operand, &found)).collect();
    let indexed: BTreeSet<u32> = bounds.iter().flat_map(|bounds| &*bounds.conditions).copied().collect();
    let left = tests.into_iter().filter(|test| !indexed.contains(test)).collect();
    (bounds, left)
}
