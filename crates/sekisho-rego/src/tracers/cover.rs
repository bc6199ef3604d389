//! Which rules and conditions were evaluated, and which lines that is.

use std::collections::{BTreeMap, BTreeSet};

use super::place;
use crate::eval::{Event, Node, Op, Tracer};
use crate::syntax::ast::{Module, Span, each_expr};

/// Remembers what was evaluated. One may listen to many evaluations of one policy.
#[derive(Debug, Default)]
pub struct Cover {
    /// By module: the first byte and the one after the last of each place.
    seen: BTreeMap<usize, BTreeSet<(u32, u32)>>,
}

/// A place of a file, from its first character to the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// Line and column, from 1.
    pub start: (u32, u32),
    /// Line and column, from 1.
    pub end: (u32, u32),
}

/// What was evaluated of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileReport {
    /// Heads of rules that gave a value, and expressions that were evaluated.
    pub covered: Vec<Range>,
    /// The others.
    pub not_covered: Vec<Range>,
    /// Lines with something of the first.
    pub covered_lines: usize,
    /// Lines with something of the second. A line may be in both.
    pub not_covered_lines: usize,
}

/// What was evaluated of all files, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The files.
    pub files: BTreeMap<String, FileReport>,
}

impl Cover {
    /// Nothing was evaluated yet.
    #[must_use]
    pub fn new() -> Cover {
        Cover::default()
    }

    /// What was evaluated of these modules, which are those of the policy.
    #[must_use]
    pub fn report(&self, modules: &[Module]) -> Report {
        let file = |(number, module): (usize, &Module)| (module.source.file.to_string(), self.file(number, module));
        Report { files: modules.iter().enumerate().map(file).collect() }
    }

    fn file(&self, number: usize, module: &Module) -> FileReport {
        let none = BTreeSet::new();
        let seen = self.seen.get(&number).unwrap_or(&none);
        let mut places = Vec::new();
        for rule in &module.rules {
            let head = rule.head.span;
            places.push((head, seen.contains(&(head.start, head.end))));
            places.extend(rule.otherwise.iter().map(|branch| {
                let end = branch.body.as_ref().map_or(branch.span.end, |body| body.span.start);
                (Span { end, ..branch.span }, seen.contains(&(branch.span.start, branch.span.end)))
            }));
        }
        each_expr(module, &mut |expr| {
            // Of an expression with bodies within, those count by themselves.
            let within = seen.range((expr.span.start, 0)..(expr.span.end, 0));
            places.push((expr.span, within.clone().any(|(_, end)| *end <= expr.span.end)));
        });
        let mut report = FileReport::default();
        places.sort();
        for (span, is_covered) in places {
            let range = Range { start: (span.line, span.column), end: place::end(&module.source.text, span) };
            if is_covered { report.covered.push(range) } else { report.not_covered.push(range) }
        }
        report.covered_lines = lines(&report.covered);
        report.not_covered_lines = lines(&report.not_covered);
        report
    }
}

fn lines(ranges: &[Range]) -> usize {
    let all: BTreeSet<u32> = ranges.iter().flat_map(|range| range.start.0..=range.end.0).collect();
    all.len()
}

/// Covered lines of all in percent.
fn percent(covered: usize, not_covered: usize) -> f64 {
    let all = covered + not_covered;
    if all == 0 { 0.0 } else { 100.0 * covered as f64 / all as f64 }
}

impl FileReport {
    /// Covered lines in percent, from 0 to 100.
    #[must_use]
    pub fn percent(&self) -> f64 {
        percent(self.covered_lines, self.not_covered_lines)
    }
}

impl Report {
    /// The number of lines with something that was evaluated.
    #[must_use]
    pub fn covered_lines(&self) -> usize {
        self.files.values().map(|file| file.covered_lines).sum()
    }

    /// The number of lines with something that was not.
    #[must_use]
    pub fn not_covered_lines(&self) -> usize {
        self.files.values().map(|file| file.not_covered_lines).sum()
    }

    /// Covered lines in percent, from 0 to 100.
    #[must_use]
    pub fn percent(&self) -> f64 {
        percent(self.covered_lines(), self.not_covered_lines())
    }
}

impl Tracer for Cover {
    fn event(&mut self, event: &Event<'_>) {
        let counts = match event.op {
            Op::Eval => true,
            Op::Exit => matches!(event.node, Node::Rule(_)),
            _ => false,
        };
        if let (true, Some(module)) = (counts, event.module) {
            self.seen.entry(module).or_default().insert((event.span.start, event.span.end));
        }
    }
}
