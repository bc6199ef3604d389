//! The index of a rule set: which rules can hold, by what their bodies compare with constants first.
//!
//! A rule is left out only by a comparison that stands before anything that can fail with an error, so leaving it out
//! hides no error.

use std::collections::HashMap;

use super::step::{Base, Block, Operand, Pattern, Rule, Slot, StepKind};
use super::table::{Column, Index, Start};
use crate::decision::Interner;
use crate::value::Value;
use crate::value::hash::Fast;

/// Fewer rules are tried one by one.
const LEAST_RULES: usize = 4;

/// Sets of constants up to this size are indexed for `x in {…}`.
const LARGEST_SET: usize = 64;

/// A place of the input, of the data or of an argument, by its keys.
type Path = (Start, Vec<Value>);

/// The index of rules; none where it would not help.
pub(super) fn index(rules: &[Rule]) -> Option<Index> {
    if rules.len() < LEAST_RULES {
        return None;
    }
    let mut paths = Interner::default();
    let compared: Vec<Comparisons> = rules.iter().map(|rule| Comparisons::of(rule, &mut paths)).collect();
    let mut uses = vec![0_usize; paths.len()];
    for path in compared.iter().flat_map(|compared| &compared.paths) {
        uses.get_mut(*path as usize).into_iter().for_each(|count| *count += 1);
    }
    let mut paths: Vec<(u32, Path)> = (0..).zip(paths.into_items()).collect();
    // A column that leaves most rules free is not worth a look.
    paths.retain(|(number, _)| uses.get(*number as usize).is_some_and(|count| *count * 2 >= rules.len()));
    paths.sort_unstable_by(|a, b| a.1.cmp(&b.1));
    let column = |(path, (start, keys)): (u32, Path)| {
        let (mut by_value, mut free): (HashMap<Value, Vec<u32>, Fast>, _) = (HashMap::default(), Vec::new());
        for (number, rule) in (0_u32..).zip(&compared) {
            if !rule.paths.contains(&path) {
                free.push(number);
            }
            for (_, value) in rule.values.iter().filter(|(of, _)| *of == path) {
                by_value.entry(value.clone()).or_default().push(number);
            }
        }
        let by_value = by_value.into_iter().map(|(value, rules)| (value, rules.into())).collect();
        Column { start, keys: keys.into(), free: free.into(), by_value }
    };
    let mut columns: Vec<Column> = paths.into_iter().map(column).collect();
    // The one with the most values leaves the fewest rules.
    columns.sort_by_key(|column| std::cmp::Reverse(column.by_value.len()));
    (!columns.is_empty()).then(|| Index { columns: columns.into() })
}

/// What a rule compares with constants before anything can fail with an error.
#[derive(Default)]
struct Comparisons {
    /// The numbers of the places, each once.
    paths: Vec<u32>,
    /// The constants of each.
    values: Vec<(u32, Value)>,
}

impl Comparisons {
    fn of(rule: &Rule, paths: &mut Interner<Path>) -> Comparisons {
        let mut found = Comparisons::default();
        let mut sources = Sources { paths, known: Vec::new() };
        for (number, parameter) in (0_u32..).zip(&rule.parameters) {
            let argument = (Start::Argument(number), Vec::new());
            match parameter {
                Pattern::Equal(Operand::Const(value)) => found.add(sources.paths.number(argument), [value.clone()]),
                Pattern::Bind(slot) => sources.learn(*slot, argument),
                _ => {}
            }
        }
        if let [branch] = &*rule.branches {
            body_comparisons(&branch.block, &mut sources, &mut found);
        }
        found
    }

    /// Adds what a place is compared with, if it is not compared before.
    fn add(&mut self, path: u32, values: impl IntoIterator<Item = Value>) {
        if !self.paths.contains(&path) {
            self.paths.push(path);
            self.values.extend(values.into_iter().map(|value| (path, value)));
        }
    }
}

/// The places that slots have their values from.
struct Sources<'p> {
    paths: &'p mut Interner<Path>,
    known: Vec<(Slot, u32)>,
}

impl Sources<'_> {
    fn learn(&mut self, slot: Slot, path: Path) {
        let number = self.paths.number(path);
        self.same(slot, number);
    }

    fn same(&mut self, slot: Slot, path: u32) {
        self.known.push((slot, path));
    }

    /// The number of the place that a slot has its value from.
    fn of(&self, slot: Slot) -> Option<u32> {
        self.known.iter().rev().find(|(known, _)| *known == slot).map(|(_, path)| *path)
    }
}

fn body_comparisons(block: &Block, sources: &mut Sources<'_>, found: &mut Comparisons) {
    for step in &block.steps {
        match &step.kind {
            StepKind::Get { base, keys, out } => {
                let Some(keys) = constants(keys) else { continue };
                let source = match base {
                    Base::Input => (Start::Input, keys),
                    Base::Data => (Start::Data, keys),
                    Base::Value(Operand::Slot(slot)) => {
                        match sources.of(*slot).and_then(|source| sources.paths.get(source)) {
                            Some((start, path)) => (start.clone(), [path.as_slice(), &keys].concat()),
                            None => continue,
                        }
                    }
                    Base::Value(_) => continue,
                };
                sources.learn(*out, source);
            }
            StepKind::Match { value: Operand::Slot(slot), pattern: Pattern::Bind(out) } => {
                if let Some(source) = sources.of(*slot) {
                    sources.same(*out, source);
                }
            }
            StepKind::Match { value: Operand::Slot(slot), pattern: Pattern::Equal(Operand::Const(value)) } => {
                if let Some(source) = sources.of(*slot) {
                    found.add(source, [value.clone()]);
                }
            }
            StepKind::Member {
                key: None,
                value: Operand::Slot(slot),
                collection: Operand::Const(collection),
                result: None,
            } => {
                if let (Some(source), Some(values)) = (sources.of(*slot), items(collection)) {
                    found.add(source, values);
                }
            }
            StepKind::Match { .. } | StepKind::Test { .. } | StepKind::Compare { .. } | StepKind::Member { .. } => {}
            _ => return,
        }
    }
}

fn constants(keys: &[Operand]) -> Option<Vec<Value>> {
    let constant = |key: &Operand| match key {
        Operand::Const(value) => Some(value.clone()),
        _ => None,
    };
    keys.iter().map(constant).collect()
}

/// The distinct items of a small constant collection.
fn items(collection: &Value) -> Option<Vec<Value>> {
    let mut items = match collection {
        Value::Set(set) => set.to_vec(),
        Value::Array(array) => array.to_vec(),
        Value::Object(object) => object.values().cloned().collect(),
        _ => Vec::new(),
    };
    items.sort_unstable();
    items.dedup();
    (items.len() <= LARGEST_SET).then_some(items)
}
