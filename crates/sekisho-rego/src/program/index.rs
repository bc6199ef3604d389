//! The index of a rule set: which rules can hold, by what their bodies compare with constants first.
//!
//! A rule is left out only by a comparison that stands before anything that can fail with an error, so leaving it out
//! hides no error.

use std::collections::{BTreeMap, HashMap};

use super::step::{Base, Block, Operand, Pattern, Rule, Slot, StepKind};
use super::table::{Column, Index, Start};
use crate::value::Value;
use crate::value::hash::Fast;

/// Fewer rules are tried one by one.
const LEAST_RULES: usize = 4;

/// Sets of constants up to this size are indexed for `x in {…}`.
const LARGEST_SET: usize = 64;

/// A place of the input, of the data or of an argument, by its keys.
type Path = (Start, Vec<Value>);

type Comparisons = BTreeMap<Path, Vec<Value>>;

/// Numbers of rules by the constant that they compare with.
type ByValue = HashMap<Value, Vec<u32>, Fast>;

/// The index of rules; none where it would not help.
pub(super) fn index(rules: &[Rule]) -> Option<Index> {
    if rules.len() < LEAST_RULES {
        return None;
    }
    let compared: Vec<Comparisons> = rules.iter().map(comparisons).collect();
    let mut uses: BTreeMap<&Path, usize> = BTreeMap::new();
    for path in compared.iter().flat_map(BTreeMap::keys) {
        *uses.entry(path).or_default() += 1;
    }
    // A column that leaves most rules free is not worth a look.
    uses.retain(|_, count| *count * 2 >= rules.len());
    let mut columns: BTreeMap<&Path, ByValue> = BTreeMap::new();
    for (number, rule) in (0_u32..).zip(&compared) {
        for (path, values) in rule.iter().filter(|(path, _)| uses.contains_key(path)) {
            let column = columns.entry(path).or_default();
            for value in values {
                column.entry(value.clone()).or_default().push(number);
            }
        }
    }
    let column = |((start, keys), by_value): (&Path, ByValue)| {
        let path = (start.clone(), keys.clone());
        let free = (0_u32..).zip(&compared).filter(|(_, rule)| !rule.contains_key(&path)).map(|(number, _)| number);
        let by_value = by_value.into_iter().map(|(value, rules)| (value, rules.into())).collect();
        Column { start: start.clone(), keys: keys.clone().into(), free: free.collect(), by_value }
    };
    let mut columns: Vec<Column> = columns.into_iter().map(column).collect();
    // The one with the most values leaves the fewest rules.
    columns.sort_by_key(|column| std::cmp::Reverse(column.by_value.len()));
    (!columns.is_empty()).then(|| Index { columns: columns.into() })
}

/// What the rule compares with constants before anything can fail with an error.
fn comparisons(rule: &Rule) -> Comparisons {
    let mut found = Comparisons::new();
    let mut sources: HashMap<Slot, (Start, Vec<Value>)> = HashMap::new();
    for (number, parameter) in (0_u32..).zip(&rule.parameters) {
        match parameter {
            Pattern::Equal(Operand::Const(value)) => {
                found.insert((Start::Argument(number), Vec::new()), vec![value.clone()]);
            }
            Pattern::Bind(slot) => {
                sources.insert(*slot, (Start::Argument(number), Vec::new()));
            }
            _ => {}
        }
    }
    if let [branch] = &*rule.branches {
        body_comparisons(&branch.block, &mut sources, &mut found);
    }
    found
}

fn body_comparisons(block: &Block, sources: &mut HashMap<Slot, (Start, Vec<Value>)>, found: &mut Comparisons) {
    for step in &block.steps {
        match &step.kind {
            StepKind::Get { base, keys, out } => {
                let Some(keys) = constants(keys) else { continue };
                let source = match base {
                    Base::Input => (Start::Input, keys),
                    Base::Data => (Start::Data, keys),
                    Base::Value(Operand::Slot(slot)) => match sources.get(slot) {
                        Some((start, path)) => (start.clone(), [path.as_slice(), &keys].concat()),
                        None => continue,
                    },
                    Base::Value(_) => continue,
                };
                sources.insert(*out, source);
            }
            StepKind::Match { value: Operand::Slot(slot), pattern: Pattern::Bind(out) } => {
                if let Some(source) = sources.get(slot).cloned() {
                    sources.insert(*out, source);
                }
            }
            StepKind::Match { value: Operand::Slot(slot), pattern: Pattern::Equal(Operand::Const(value)) } => {
                if let Some(source) = sources.get(slot) {
                    found.entry(source.clone()).or_insert_with(|| vec![value.clone()]);
                }
            }
            StepKind::Member {
                key: None,
                value: Operand::Slot(slot),
                collection: Operand::Const(collection),
                result: None,
            } => {
                if let (Some(source), Some(values)) = (sources.get(slot), items(collection)) {
                    found.entry(source.clone()).or_insert(values);
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
