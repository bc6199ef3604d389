//! Tells a listener what the machine does. Without a listener an event costs one comparison.

use super::event::{Event, Frame, Node, Op, number};
use super::machine::{Eval, Found, Machine};
use super::rules::path_text;
use crate::program::{Pattern, RuleSet, Step, StepKind};
use crate::syntax::ast::Span;
use crate::value::Value;

/// The body around the one that begins.
pub(super) struct Outer(Box<Frame>);

impl<'a> Machine<'a> {
    #[inline]
    pub(super) fn is_traced(&self) -> bool {
        self.tracing.is_some()
    }

    /// Says that the next body is one of a rule.
    pub(super) fn announce(&mut self, set: &RuleSet, span: Span) {
        if let Some(tracing) = &mut self.tracing {
            tracing.next = Some((path_text(&set.path), span));
        }
    }

    /// A body begins, `depth` bodies deep.
    pub(super) fn trace_enter(&mut self, depth: u32) -> Option<Outer> {
        let module = self.module;
        let tracing = self.tracing.as_mut()?;
        tracing.queries += 1;
        let (rule, span) = match tracing.next.take() {
            Some((rule, span)) => (Some(rule), span),
            None => (None, tracing.place),
        };
        let frame = Frame { rule, module, span, query: tracing.queries, parent: tracing.current.query, depth };
        let outer = std::mem::replace(&mut tracing.current, frame);
        tracing.of_body(Op::Enter, depth);
        Some(Outer(Box::new(outer)))
    }

    /// A body has no further solution, or none is wanted.
    pub(super) fn trace_leave(&mut self, outer: Outer) {
        if let Some(tracing) = &mut self.tracing {
            tracing.place = tracing.current.span;
            tracing.current = *outer.0;
        }
    }

    /// A solution: whether to look for further ones. The first `open` choices belong to bodies around it.
    pub(super) fn trace_found(&mut self, found: Found<'_, 'a>, open: usize) -> Eval<bool> {
        if let Some(tracing) = &mut self.tracing {
            tracing.of_body(Op::Exit, tracing.current.depth + 1);
        }
        let goes_on = found(self)?;
        let again = goes_on && self.has_choices(open);
        if let Some(tracing) = self.tracing.as_mut().filter(|_| again) {
            tracing.of_body(Op::Redo, tracing.current.depth);
        }
        Ok(goes_on)
    }

    /// An event of the step at `at` of a body.
    pub(super) fn trace_step(&mut self, op: Op, steps: &'a [Step], at: usize, base: usize) {
        let Some(step) = steps.get(at) else { return };
        let values = if op == Op::Fail && self.values_wanted() { self.failure(step, base).values } else { Vec::new() };
        self.expression(op, node_of(steps, at), step.span, "", &values);
    }

    /// A step did not hold, or it left a choice, which is then to be tried first.
    pub(super) fn trace_stop(&mut self, steps: &'a [Step], at: usize, base: usize, is_choice: bool) -> Option<usize> {
        if !is_choice {
            self.trace_step(Op::Fail, steps, at, base);
        }
        is_choice.then_some(at)
    }

    /// The evaluation goes on behind the last choice. `opened` is a step that left one and was not tried before.
    pub(super) fn trace_retry(&mut self, steps: &'a [Step], opened: Option<usize>, next: Option<usize>, base: usize) {
        let again = next.and_then(|next| next.checked_sub(1));
        if let Some(at) = opened.filter(|at| again != Some(*at)) {
            self.trace_step(Op::Fail, steps, at, base);
        }
        if let Some(at) = again {
            if opened != Some(at) {
                self.trace_step(Op::Redo, steps, at, base);
            }
            self.trace_unify(steps, at, base);
        }
    }

    /// Terms that were found equal, or the value that a step bound.
    pub(super) fn trace_unify(&mut self, steps: &'a [Step], at: usize, base: usize) {
        let Some(step) = steps.get(at).filter(|_| self.values_wanted()) else { return };
        let values = match &step.kind {
            StepKind::Match { .. } => self.failure(step, base).values,
            StepKind::Get { out, .. }
            | StepKind::Rule { out, .. }
            | StepKind::Each { value: Pattern::Bind(out), .. }
            | StepKind::Call { result: Some(Pattern::Bind(out)), .. } => vec![Value::clone(self.slot(base, *out))],
            StepKind::Collect(collect) => vec![Value::clone(self.slot(base, collect.out))],
            _ => return,
        };
        self.expression(Op::Unify, node_of(steps, at), step.span, "", &values);
    }

    fn values_wanted(&self) -> bool {
        self.tracing.as_ref().is_some_and(|tracing| tracing.tracer.wants_values())
    }

    fn expression(&mut self, op: Op, node: Node<'_>, span: Span, message: &str, values: &[Value]) {
        let Some(tracing) = &mut self.tracing else { return };
        tracing.place = span;
        let Frame { module, query, parent, depth, .. } = tracing.current;
        let (module, depth) = (number(module), depth + 1);
        tracing.tracer.event(&Event { op, node, module, span, depth, query, parent, message, values });
    }

    /// The rules of a set that can hold were looked up.
    pub(super) fn trace_index(&mut self, set: &RuleSet, count: usize, early: bool) {
        let Some(tracing) = &mut self.tracing else { return };
        let rules = if count == 1 { "rule" } else { "rules" };
        let message = format!("matched {count} {rules}{}", if early { ", early exit" } else { "" });
        let (path, span) = (path_text(&set.path), tracing.place);
        self.expression(Op::Index, Node::Rule(&path), span, &message, &[]);
    }

    /// The notes that a call of `trace` left.
    pub(super) fn trace_notes(&mut self, before: usize, span: Span) {
        let notes: Vec<String> = self.context.notes.get(before..).unwrap_or_default().to_vec();
        for note in notes {
            self.expression(Op::Note, Node::Expr { step: 0, further: false }, span, &note, &[]);
        }
    }

    /// An element that its set has already.
    pub(super) fn trace_duplicate(&mut self, set: &RuleSet, span: Span, value: &Value) {
        let path = path_text(&set.path);
        self.expression(Op::Duplicate, Node::Rule(&path), span, "", std::slice::from_ref(value));
    }
}

fn node_of(steps: &[Step], at: usize) -> Node<'static> {
    let span = |at: usize| steps.get(at).map(|step| step.span);
    let further = at.checked_sub(1).is_some_and(|before| span(before) == span(at));
    Node::Expr { step: at, further }
}
