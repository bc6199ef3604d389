//! The machine: runs the steps of a block, and returns to the last choice where a step does not hold.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::coverage::Coverage;
use super::descent::Descent;
use super::error::{EvalCode, EvalError};
use super::event::{Op, Tracing};
use super::trace::{Failure, Trace};
use super::val::Val;
use crate::builtins::Context;
use crate::program::{Block, Callee, Place, Program, RuleSetId, Slot, Step, StepKind};
use crate::syntax::ast::Span;
use crate::value::Value;
use crate::value::hash::Fast;

/// What an evaluation may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Steps, each of about 100 nanoseconds. What reads much counts as more of them.
    pub steps: u64,
    /// Bodies within bodies: rules that call rules, comprehensions, negations.
    pub depth: u32,
    /// Values within one value and blocks of 256 bytes in their texts, counted as often as they appear in it.
    pub size: u64,
    /// Built-in errors end the evaluation; else the expression is undefined.
    pub strict: bool,
    /// All rules of a document are evaluated, also those after one that gave its value: an error in any of them ends
    /// the evaluation, whatever their order.
    pub exhaustive: bool,
    /// Set from outside to end the evaluation.
    pub interrupt: Option<Arc<AtomicBool>>,
}

/// So many values are compared, or put into a collection, in the time of a step.
pub(super) const COMPARED: u64 = 8;

/// The deepest nesting of collections in a value that is made by rules.
const DEEPEST_VALUE: u32 = 640;

impl Default for Limits {
    fn default() -> Limits {
        Limits { steps: 50_000_000, depth: 200, size: 20_000_000, strict: true, exhaustive: false, interrupt: None }
    }
}

pub(super) type Eval<T> = Result<T, EvalError>;

/// Called for each solution of a block; false ends the search.
pub(super) type Found<'f, 'a> = &'f mut dyn FnMut(&mut Machine<'a>) -> Eval<bool>;

/// What is known of documents and calls under the same modifiers.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) documents: HashMap<RuleSetId, Option<Value>, Fast>,
    pub(super) calls: HashMap<(RuleSetId, Vec<Value>), Option<Value>>,
}

/// What a modifier put in place of a function.
#[derive(Clone)]
pub(super) enum Replaced<'a> {
    Value(Val<'a>),
    Callee(Callee),
}

/// A function that a modifier can replace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CalleeId {
    Builtin(&'static str),
    Function(RuleSetId),
}

/// A step that has more to try.
struct Choice<'a> {
    step: usize,
    source: Source<'a>,
}

enum Source<'a> {
    Items(Val<'a>, usize),
    Rows(std::vec::IntoIter<Box<[Val<'a>]>>),
    Descent(Box<Descent<'a>>),
}

pub(super) struct Machine<'a> {
    pub(super) program: &'a Program,
    pub(super) data: Val<'a>,
    pub(super) input: Option<Val<'a>>,
    pub(super) context: Context,
    /// What is known without modifiers, and under each of those that are in force.
    cache: Cache,
    pub(super) caches: Vec<Cache>,
    /// Paths of data that modifiers replace.
    pub(super) targets: Vec<Arc<[Value]>>,
    pub(super) mocks: Vec<(CalleeId, Replaced<'a>)>,
    pub(super) module: u32,
    pub(super) limits: &'a Limits,
    pub(super) coverage: Option<Coverage>,
    pub(super) trace: Option<Trace>,
    pub(super) tracing: Option<Box<Tracing<'a>>>,
    /// The failure furthest in the block that finished last.
    pub(super) failed: Option<Failure>,
    slots: Vec<Val<'a>>,
    choices: Vec<Choice<'a>>,
    steps: Cell<u64>,
    depth: u32,
}

impl<'a> Machine<'a> {
    pub(super) fn new(
        program: &'a Program,
        data: &'a Value,
        input: Option<&'a Value>,
        context: Context,
        limits: &'a Limits,
    ) -> Machine<'a> {
        Machine {
            program,
            data: Val::Ref(data),
            input: input.map(Val::Ref),
            context,
            cache: Cache::default(),
            caches: Vec::new(),
            targets: Vec::new(),
            mocks: Vec::new(),
            module: u32::MAX,
            limits,
            coverage: None,
            trace: None,
            tracing: None,
            failed: None,
            slots: Vec::new(),
            choices: Vec::new(),
            steps: Cell::new(0),
            depth: 0,
        }
    }

    pub(super) fn error(&self, code: EvalCode, message: impl Into<String>, span: Span) -> EvalError {
        let source = self.program.sources.get(self.module as usize);
        let place = source.map(|source| Place { file: source.file.clone(), line: span.line, column: span.column });
        EvalError { code, message: message.into(), place }
    }

    fn plain_error(code: EvalCode, message: &str) -> EvalError {
        EvalError { code, message: message.to_owned(), place: None }
    }

    /// Opens a frame of slots and gives its start.
    pub(super) fn open_frame(&mut self, slots: u32) -> usize {
        let base = self.slots.len();
        self.slots.resize_with(base + slots as usize, || Val::NULL);
        base
    }

    pub(super) fn close_frame(&mut self, base: usize) {
        self.slots.truncate(base);
    }

    #[inline]
    pub(super) fn slot(&self, base: usize, slot: Slot) -> &Val<'a> {
        self.slots.get(base + slot as usize).unwrap_or(&Val::NULL)
    }

    #[inline]
    pub(super) fn set(&mut self, base: usize, slot: Slot, value: Val<'a>) {
        if let Some(place) = self.slots.get_mut(base + slot as usize) {
            *place = value;
        }
    }

    pub(super) fn row(&self, base: usize, slots: &[Slot]) -> Box<[Val<'a>]> {
        slots.iter().map(|slot| self.slot(base, *slot).clone()).collect()
    }

    /// What is known under the modifiers in force.
    pub(super) fn cache(&self) -> &Cache {
        self.caches.last().unwrap_or(&self.cache)
    }

    pub(super) fn cache_mut(&mut self) -> &mut Cache {
        self.caches.last_mut().unwrap_or(&mut self.cache)
    }

    /// Counts work; ends the evaluation where there was too much.
    #[inline]
    pub(super) fn tick(&mut self, work: u64) -> Eval<()> {
        let before = self.steps.get();
        let steps = before.saturating_add(work);
        self.steps.set(steps);
        if steps > self.limits.steps {
            return Err(Self::plain_error(EvalCode::Limit, "the evaluation takes too many steps"));
        }
        if before >> 10 != steps >> 10
            && self.limits.interrupt.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
        {
            return Err(Self::plain_error(EvalCode::Cancel, "caller cancelled query execution"));
        }
        Ok(())
    }

    /// Counts work that is done; the next step ends the evaluation where there was too much.
    #[inline]
    pub(super) fn charge(&self, work: u64) {
        self.steps.set(self.steps.get().saturating_add(work));
    }

    /// Counts a comparison of two values, of which the smaller ends it.
    #[inline]
    pub(super) fn charge_compared(&self, left: &Value, right: &Value) {
        self.charge(left.weight().min(right.weight()) / COMPARED);
    }

    /// Counts that so many values of this weight in all are put in order.
    pub(super) fn charge_ordered(&self, weight: u64, count: usize) {
        self.charge(weight.saturating_mul(u64::from(1 + count.checked_ilog2().unwrap_or(0))) / (2 * COMPARED));
    }

    /// The steps that were counted.
    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    #[inline]
    fn cover(&mut self, span: Span) {
        if let Some(coverage) = &mut self.coverage {
            coverage.add(self.module, span);
        }
    }

    /// Refuses a value that is too large or nested too deep to be read in bounded time and stack.
    pub(super) fn admit(&self, value: &Value, span: Span) -> Eval<()> {
        if value.weight() > self.limits.size {
            return Err(self.error(EvalCode::Limit, "a value is too large", span));
        }
        if value.depth() > DEEPEST_VALUE {
            return Err(self.error(EvalCode::Limit, "a value is nested too deep", span));
        }
        Ok(())
    }

    /// Finds the solutions of a block in the frame at `base`.
    pub(super) fn run(&mut self, block: &'a Block, base: usize, found: Found<'_, 'a>) -> Eval<()> {
        self.run_steps(&block.steps, base, found)
    }

    /// Finds the solutions of steps in the frame at `base`.
    pub(super) fn run_steps(&mut self, steps: &'a [Step], base: usize, found: Found<'_, 'a>) -> Eval<()> {
        if self.depth >= self.limits.depth {
            return Err(Self::plain_error(EvalCode::Limit, "rules and comprehensions are nested too deep"));
        }
        self.depth += 1;
        let floor = self.choices.len();
        let outer = if self.tracing.is_some() { self.trace_enter(self.depth - 1) } else { None };
        let result = self.search(steps, base, floor, found);
        if let Some(outer) = outer {
            self.trace_leave(outer);
        }
        self.choices.truncate(floor);
        self.depth -= 1;
        result
    }

    fn search(&mut self, steps: &'a [Step], base: usize, floor: usize, found: Found<'_, 'a>) -> Eval<()> {
        let mut at = 0;
        let mut failed: Option<(usize, Failure)> = None;
        loop {
            let mut opened = None;
            let holds = loop {
                let Some(step) = steps.get(at) else {
                    break if self.tracing.is_some() { self.trace_found(found, floor)? } else { found(self)? };
                };
                self.tick(1)?;
                self.cover(step.span);
                if self.tracing.is_some() {
                    self.trace_step(Op::Eval, steps, at, base);
                }
                let choices = self.choices.len();
                if !self.step(step, at, base)? {
                    if self.tracing.is_some() {
                        opened = self.trace_stop(steps, at, base, self.choices.len() > choices);
                    }
                    if self.trace.is_some() && failed.as_ref().is_none_or(|(furthest, _)| *furthest < at) {
                        failed = Some((at, self.failure(step, base)));
                    }
                    break true;
                }
                if self.tracing.is_some() {
                    self.trace_unify(steps, at, base);
                }
                at += 1;
            };
            if !holds {
                return Ok(());
            }
            let next = self.retry(steps, base, floor)?;
            if self.tracing.is_some() {
                self.trace_retry(steps, opened, next, base);
            }
            match next {
                Some(next) => at = next,
                None => {
                    self.failed = failed.map(|(_, failure)| failure);
                    return Ok(());
                }
            }
        }
    }

    /// Whether there is a choice beyond the first `open` ones.
    pub(super) fn has_choices(&self, open: usize) -> bool {
        self.choices.len() > open
    }

    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Whether a block has a solution.
    pub(super) fn holds(&mut self, block: &'a Block, base: usize) -> Eval<bool> {
        let mut holds = false;
        self.run(block, base, &mut |_| {
            holds = true;
            Ok(false)
        })?;
        Ok(holds)
    }

    /// Leaves the items of a collection to be tried by the step at `at`.
    pub(super) fn choose_items(&mut self, at: usize, collection: Val<'a>) {
        self.choices.push(Choice { step: at, source: Source::Items(collection, 0) });
    }

    /// Leaves rows to be tried by the step at `at`.
    pub(super) fn choose_rows(&mut self, at: usize, rows: Vec<Box<[Val<'a>]>>) {
        self.choices.push(Choice { step: at, source: Source::Rows(rows.into_iter()) });
    }

    /// Leaves the values below a value to be tried by the step at `at`.
    pub(super) fn choose_descent(&mut self, at: usize, descent: Descent<'a>) {
        self.choices.push(Choice { step: at, source: Source::Descent(Box::new(descent)) });
    }

    /// Goes on with the last choice that has more to try: the step after it.
    fn retry(&mut self, steps: &'a [Step], base: usize, floor: usize) -> Eval<Option<usize>> {
        while self.choices.len() > floor {
            let Some(choice) = self.choices.last_mut() else { break };
            let at = choice.step;
            let step = steps.get(at);
            let holds = match &mut choice.source {
                Source::Items(collection, position) => {
                    let item = collection.item(*position);
                    *position += 1;
                    match (item, step) {
                        (Some((key, value)), Some(Step { kind: StepKind::Each { key: a, value: b, .. }, .. })) => {
                            Some(self.matches(a, key, base) && self.matches(b, value, base))
                        }
                        _ => None,
                    }
                }
                Source::Descent(descent) => match (descent.next(), step) {
                    (Some(found), Some(Step { kind: StepKind::Traverse { result, .. }, .. })) => {
                        Some(self.matches_below(result, found, base))
                    }
                    _ => None,
                },
                Source::Rows(rows) => match (rows.next(), step) {
                    (Some(row), Some(step)) => Some(self.take_row(step, row, base)),
                    _ => None,
                },
            };
            match holds {
                None => {
                    self.choices.pop();
                }
                Some(holds) => {
                    self.tick(1)?;
                    if holds {
                        return Ok(Some(at + 1));
                    }
                }
            }
        }
        Ok(None)
    }

    fn take_row(&mut self, step: &'a Step, row: Box<[Val<'a>]>, base: usize) -> bool {
        let row = row.into_iter();
        match &step.kind {
            StepKind::With { outs, .. } => {
                outs.iter().zip(row).for_each(|(slot, value)| self.set(base, *slot, value));
                true
            }
            StepKind::Tree { out, outs, .. } => {
                let slots = outs.iter().chain([out]);
                slots.zip(row).for_each(|(slot, value)| self.set(base, *slot, value));
                true
            }
            _ => false,
        }
    }
}
