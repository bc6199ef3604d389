//! The table: which rules hold, and which is nearest, without looking at each.

use super::condition::{Inner, Reading, Source, Test, Truth, address};
use super::equal::Equals;
use super::ordered::Bounds;
use super::prefixes::{Beginning, Ending, Prefixes};
use super::rows::{Counts, RowSet, has, insert, numbers};
use super::view::View;
use crate::builtins::block::Block;

/// Rules over shared conditions, indexed by what the conditions ask.
///
/// A condition that few rules have is looked at from its own side: if it is met, its rules are counted. Conditions that
/// many rules have decide for rows: all rules that agree in them. So a decision costs what is met, not what there is.
#[derive(Debug)]
pub struct Table {
    pub(super) slots: Box<[SlotIndex]>,
    pub(super) conditions: Box<[Inner]>,
    pub(super) places: Box<[Place]>,
    pub(super) bounds: Box<[Bounds]>,
    /// Conditions that no index answers.
    pub(super) tests: Box<[u32]>,
    /// Rules, for [`Place::Few`].
    pub(super) postings: Box<[u32]>,
    pub(super) flags: Box<[Flag]>,
    pub(super) columns: Box<[RowSet]>,
    pub(super) owns: Box<[Own]>,
    pub(super) rows: Box<[Row]>,
    /// Rules in ascending order, row by row.
    pub(super) rules: Box<[u32]>,
    pub(super) row_of: Box<[u32]>,
    /// How many conditions of each row are unmet before anything is looked at.
    pub(super) planes: Box<[u64]>,
    pub(super) depth: usize,
    pub(super) work: u64,
}

/// The conditions on one place of the input.
#[derive(Debug)]
pub(super) struct SlotIndex {
    pub(super) slot: u32,
    pub(super) equals: Equals,
    pub(super) beginnings: Prefixes<Beginning>,
    pub(super) endings: Prefixes<Ending>,
    pub(super) blocks: Prefixes<Block>,
}

/// Where it counts that a condition is met.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// At these rules, each of which then has `step` more unmet conditions.
    Few { begin: u32, end: u32, step: i32 },
    /// At rows, by the number of its flag.
    Many(u32),
}

/// A condition of many rules.
#[derive(Debug)]
pub(super) struct Flag {
    /// The column in which it stands, and the rows that have it.
    pub(super) column: Option<(u32, RowSet)>,
}

/// A condition that shares its column with none: the rows that have it.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) flag: u32,
    pub(super) negated: bool,
    pub(super) rows: RowSet,
}

#[derive(Debug)]
pub(super) struct Row {
    /// Its rules.
    pub(super) begin: u32,
    pub(super) end: u32,
    pub(super) decides: bool,
    pub(super) opaque: u32,
}

/// What a table finds for one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether all conditions of a rule that decides are met.
    pub allows: bool,
    /// The first rule of which no condition is unmet, of those with the fewest opaque ones.
    pub met: Option<u32>,
    /// The first rule with the fewest unmet conditions.
    pub nearest: Option<u32>,
}

/// What a decision writes on; kept for the next one, so that none allocates.
#[derive(Debug, Default)]
pub struct Scratch {
    planes: Vec<u64>,
    missing: Vec<u64>,
    live: Vec<u64>,
    lowest: Vec<u64>,
    hits: Vec<u64>,
    hit_flags: Vec<u32>,
    /// What rules have more or fewer unmet than their rows; [`UNTOUCHED`] for those that no hit concerns.
    steps: Vec<i32>,
    touched: Vec<u32>,
}

const UNTOUCHED: i32 = i32::MIN;

/// The best rules so far: how many conditions are unmet or opaque, and the number.
#[derive(Default)]
struct Best {
    allows: bool,
    met: Option<(u32, u32)>,
    nearest: Option<(u32, u32)>,
}

impl Table {
    /// Judges one input; none where a condition is [`Truth::Unknown`] or the work is used up.
    pub fn judge(&self, source: &impl Source, scratch: &mut Scratch) -> Option<Found> {
        scratch.fit(self);
        let known = self.collect(&mut Reading::new(source, self.work), scratch);
        let found = known.then(|| self.weigh(scratch));
        scratch.clear();
        found
    }

    /// Notes all conditions that are met; false where one is unknown.
    fn collect<S: Source>(&self, reading: &mut Reading<'_, S>, scratch: &mut Scratch) -> bool {
        for index in &self.slots {
            let view = reading.view(index.slot);
            index.equals.get(view).iter().for_each(|condition| self.hit(*condition, scratch));
            if !self.collect_texts(index, view, reading, scratch) {
                return false;
            }
        }
        for bounds in &self.bounds {
            let known = match reading.operand(&bounds.operand) {
                Some(View::Integer(number)) => {
                    bounds.met(number).for_each(|condition| self.hit(condition, scratch));
                    true
                }
                Some(View::Undefined) => true,
                Some(_) => self.ask(&bounds.conditions, reading, scratch),
                None => false,
            };
            if !known {
                return false;
            }
        }
        self.ask(&self.tests, reading, scratch)
    }

    /// Conditions one by one.
    fn ask<S: Source>(&self, conditions: &[u32], reading: &mut Reading<'_, S>, scratch: &mut Scratch) -> bool {
        conditions.iter().all(|condition| {
            let Some(inner) = self.conditions.get(*condition as usize) else { return false };
            let truth = reading.truth(inner.number, &inner.test);
            if truth == Truth::Met {
                self.hit(*condition, scratch);
            }
            truth != Truth::Unknown
        })
    }

    fn collect_texts<S: Source>(
        &self,
        index: &SlotIndex,
        view: View<'_>,
        reading: &mut Reading<'_, S>,
        scratch: &mut Scratch,
    ) -> bool {
        let of_texts = !(index.beginnings.is_empty() && index.endings.is_empty());
        let of_addresses = !index.blocks.is_empty();
        if view == View::Undefined || !of_texts && !of_addresses {
            return true;
        }
        let Some(text) = view.text() else { return false };
        let mut known = !of_texts || reading.spend(text.len());
        let begins = |key: &Beginning| text.starts_with(&*key.0);
        index.beginnings.each(
            |key| *key.0 <= *text,
            begins,
            |_, conditions| {
                for condition in conditions {
                    known = known && self.confirm(*condition, reading, scratch);
                }
            },
        );
        index.endings.each(
            |key| key.order(text).is_le(),
            |key| text.ends_with(&*key.0),
            |_, conditions| {
                conditions.iter().for_each(|condition| self.hit(*condition, scratch));
            },
        );
        if !of_addresses {
            return known;
        }
        let Some(bits) = address(text) else { return false };
        index.blocks.each(
            |block| block.first <= bits,
            |block| block.has(bits),
            |block, conditions| {
                if block.contains(bits) {
                    conditions.iter().for_each(|condition| self.hit(*condition, scratch));
                }
            },
        );
        known
    }

    /// A condition whose text begins as it asks; a pattern asks for more. False where it is unknown.
    fn confirm<S: Source>(&self, condition: u32, reading: &mut Reading<'_, S>, scratch: &mut Scratch) -> bool {
        match self.conditions.get(condition as usize).map(|inner| &inner.test) {
            Some(Test::Begins(..)) => {
                self.hit(condition, scratch);
                true
            }
            _ => self.ask(&[condition], reading, scratch),
        }
    }

    fn hit(&self, condition: u32, scratch: &mut Scratch) {
        match self.places.get(condition as usize) {
            Some(Place::Few { begin, end, step }) => {
                let rules = self.postings.get(*begin as usize..*end as usize).unwrap_or_default();
                rules.iter().for_each(|rule| scratch.touch(*rule, *step));
            }
            Some(Place::Many(flag)) => {
                insert(&mut scratch.hits, *flag);
                scratch.hit_flags.push(*flag);
            }
            None => {}
        }
    }

    /// Finds the rules by the conditions that are met.
    fn weigh(&self, scratch: &mut Scratch) -> Found {
        let words = self.rows.len().div_ceil(64);
        let Scratch { planes, missing, live, lowest, hits, hit_flags, steps, touched } = scratch;
        let Some(planes) = planes.get_mut(..self.planes.len()) else { return Best::default().found() };
        planes.copy_from_slice(&self.planes);
        let mut counts = Counts { planes, depth: self.depth };
        for (number, looks) in (0_u32..).zip(&self.columns) {
            let hit = hit_flags.iter().filter_map(|flag| self.flags.get(*flag as usize)?.column.as_ref());
            let mut hit = hit.filter(|(column, _)| *column == number).peekable();
            match (hit.peek().is_some(), missing.get_mut(..words)) {
                (true, Some(missing)) => {
                    missing.fill(0);
                    looks.add_to(missing);
                    hit.for_each(|(_, rows)| rows.remove_from(missing));
                    counts.add(missing);
                }
                _ => counts.add_rows(looks),
            }
        }
        for own in self.owns.iter().filter(|own| has(hits, own.flag) == own.negated) {
            counts.add_rows(&own.rows);
        }
        let mut best = Best::default();
        for rule in &*touched {
            let Some(row) = self.row_of.get(*rule as usize).copied() else { continue };
            let step = steps.get(*rule as usize).copied().unwrap_or_default();
            let unmet = counts.of(row).saturating_add_signed(step);
            self.rows.get(row as usize).into_iter().for_each(|row| best.rule(unmet, row, *rule));
        }
        let (Some(live), Some(lowest)) = (live.get_mut(..words), lowest.get_mut(..words)) else { return best.found() };
        all(live, self.rows.len());
        while let Some(unmet) = counts.lowest(live, lowest) {
            if best.nearest.is_some_and(|(fewest, _)| fewest < unmet) {
                break;
            }
            let mut untouched = false;
            for row in numbers(lowest).filter_map(|row| self.rows.get(row as usize)) {
                if unmet > 0 && best.nearest.is_some_and(|nearest| nearest < (unmet, self.first(row))) {
                    // Rows stand in the order of their first rules.
                    untouched = true;
                    break;
                }
                let rules = self.rules.get(row.begin as usize..row.end as usize).unwrap_or_default();
                let is_free = |rule: &&u32| steps.get(**rule as usize).is_none_or(|step| *step == UNTOUCHED);
                if let Some(rule) = rules.iter().find(is_free) {
                    best.rule(unmet, row, *rule);
                    untouched = true;
                }
            }
            if untouched {
                break;
            }
            live.iter_mut().zip(&*lowest).for_each(|(live, lowest)| *live &= !lowest);
        }
        best.found()
    }

    fn first(&self, row: &Row) -> u32 {
        self.rules.get(row.begin as usize).copied().unwrap_or_default()
    }
}

fn all(set: &mut [u64], rows: usize) {
    let mut rest = rows;
    for word in set {
        *word = if rest < 64 { (1 << rest) - 1 } else { u64::MAX };
        rest = rest.saturating_sub(64);
    }
}

impl RowSet {
    fn add_to(&self, set: &mut [u64]) {
        match self {
            RowSet::Few(rows) => rows.iter().for_each(|row| insert(set, *row)),
            RowSet::Many(bits) => set.iter_mut().zip(bits).for_each(|(word, bits)| *word |= bits),
        }
    }
}

impl Best {
    fn rule(&mut self, unmet: u32, row: &Row, rule: u32) {
        let least = |known: Option<(u32, u32)>, new: (u32, u32)| Some(known.map_or(new, |known| new.min(known)));
        if unmet == 0 {
            self.allows |= row.decides;
            self.met = least(self.met, (row.opaque, rule));
        }
        self.nearest = least(self.nearest, (unmet, rule));
    }

    fn found(self) -> Found {
        let number = |(_, rule): (u32, u32)| rule;
        Found { allows: self.allows, met: self.met.map(number), nearest: self.nearest.map(number) }
    }
}

impl Scratch {
    /// Grows to a table's size; nothing is left to do where it decided before.
    fn fit(&mut self, table: &Table) {
        let words = table.rows.len().div_ceil(64);
        let grow = |set: &mut Vec<u64>, size: usize| set.resize(set.len().max(size), 0);
        grow(&mut self.planes, table.planes.len());
        [&mut self.missing, &mut self.live, &mut self.lowest].into_iter().for_each(|set| grow(set, words));
        grow(&mut self.hits, table.flags.len().div_ceil(64));
        self.hit_flags.reserve(table.flags.len());
        self.steps.resize(self.steps.len().max(table.row_of.len()), UNTOUCHED);
        self.touched.reserve(table.row_of.len());
    }

    fn touch(&mut self, rule: u32, step: i32) {
        let Some(known) = self.steps.get_mut(rule as usize) else { return };
        if *known == UNTOUCHED {
            *known = 0;
            self.touched.push(rule);
        }
        *known += step;
    }

    fn clear(&mut self) {
        for rule in self.touched.drain(..) {
            self.steps.get_mut(rule as usize).into_iter().for_each(|step| *step = UNTOUCHED);
        }
        for flag in self.hit_flags.drain(..) {
            self.hits.get_mut(flag as usize / 64).into_iter().for_each(|word| *word = 0);
        }
    }
}
