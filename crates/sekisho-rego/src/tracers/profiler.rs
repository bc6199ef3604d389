//! How often each expression was evaluated, and how long that took.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::place;
use crate::eval::{Event, Node, Op, Tracer};
use crate::syntax::ast::{Module, Span};

type Key = (Option<usize>, Span);

/// Counts evaluations of expressions. The caller brings the clock: nanoseconds from any start.
pub struct Profiler<'c> {
    clock: &'c dyn Fn() -> u64,
    counts: BTreeMap<Key, Counts>,
    running: Option<(Key, u64)>,
}

#[derive(Default)]
struct Counts {
    nanos: u64,
    evals: u64,
    redos: u64,
    steps: BTreeSet<usize>,
}

/// What one expression took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Nanoseconds, without those of the bodies that it evaluated.
    pub nanos: u64,
    /// How often a step of it was evaluated.
    pub evals: u64,
    /// How often it was tried again for a further solution.
    pub redos: u64,
    /// The steps that it was compiled to, as far as they were reached.
    pub steps: u64,
    /// The file of the module, or `query`.
    pub file: String,
    /// The line, from 1.
    pub row: u32,
    /// The column, from 1.
    pub column: u32,
    /// The text of the expression.
    pub text: String,
}

/// By what expressions are ordered, named as OPA names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `total_time_ns`, longest first.
    Nanos,
    /// `num_eval`, most first.
    Evals,
    /// `num_redo`, most first.
    Redos,
    /// `num_gen_expr`, most first.
    Steps,
    /// `file`.
    File,
    /// `line`.
    Line,
}

/// The orders by name.
const ORDERS: [(&str, Order); 6] = [
    ("total_time_ns", Order::Nanos),
    ("num_eval", Order::Evals),
    ("num_redo", Order::Redos),
    ("num_gen_expr", Order::Steps),
    ("file", Order::File),
    ("line", Order::Line),
];

impl std::str::FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Order, String> {
        let found = ORDERS.iter().find(|(name, _)| *name == text).map(|(_, order)| *order);
        let names = || ORDERS.map(|(name, _)| name).join(", ");
        found.ok_or_else(|| format!("an order is one of {}", names()))
    }
}

impl Order {
    fn compare(self, a: &Spent, b: &Spent) -> Ordering {
        match self {
            Order::Nanos => b.nanos.cmp(&a.nanos),
            Order::Evals => b.evals.cmp(&a.evals),
            Order::Redos => b.redos.cmp(&a.redos),
            Order::Steps => b.steps.cmp(&a.steps),
            Order::File => a.file.cmp(&b.file),
            Order::Line => a.row.cmp(&b.row),
        }
    }
}

impl<'c> Profiler<'c> {
    /// A profiler that reads this clock at each event.
    #[must_use]
    pub fn new(clock: &'c dyn Fn() -> u64) -> Profiler<'c> {
        Profiler { clock, counts: BTreeMap::new(), running: None }
    }

    fn stop(&mut self) -> u64 {
        let now = (self.clock)();
        if let Some((key, start)) = self.running.take() {
            self.counts.entry(key).or_default().nanos += now.saturating_sub(start);
        }
        now
    }

    /// What each expression took, by `orders`, the first of which counts most; none are OPA's: time, evaluations,
    /// redos, file, line.
    #[must_use]
    pub fn report(&mut self, modules: &[Module], query: &str, orders: &[Order]) -> Vec<Spent> {
        self.stop();
        let mut out: Vec<Spent> = Vec::with_capacity(self.counts.len());
        for ((module, span), counts) in &self.counts {
            let (file, source) = place::source(modules, query, *module);
            out.push(Spent {
                nanos: counts.nanos,
                evals: counts.evals,
                redos: counts.redos,
                steps: counts.steps.len() as u64,
                file: file.to_owned(),
                row: span.line.max(1),
                column: span.column.max(1),
                text: place::text(source, *span),
            });
        }
        let usual = [Order::Nanos, Order::Evals, Order::Redos, Order::File, Order::Line];
        let all: Vec<Order> = orders.iter().copied().chain(usual).collect();
        out.sort_by(|a, b| {
            all.iter().map(|order| order.compare(a, b)).find(|found| found.is_ne()).unwrap_or(Ordering::Equal)
        });
        out
    }
}

impl Tracer for Profiler<'_> {
    fn event(&mut self, event: &Event<'_>) {
        let (Op::Eval | Op::Redo, Node::Expr { step, .. }) = (event.op, event.node) else { return };
        let start = self.stop();
        let key = (event.module, event.span);
        let counts = self.counts.entry(key).or_default();
        match event.op {
            Op::Eval => counts.evals += 1,
            _ => counts.redos += 1,
        }
        counts.steps.insert(step);
        self.running = Some((key, start));
    }
}
