//! The search: every way through the steps of a body, with what each leaves to be asked.

use super::facts::Facts;
use super::options::Options;
use super::state::{Frame, State, Then};
use super::steps;
use super::support::Support;
use super::term::{Function, Literal, Order, Root, Term, Var, size};
use super::unknown::Unknowns;
use crate::eval::{EvalCode, EvalError, Known};
use crate::program::{Base, Callee, Compare, Operand, Pattern, Program, Slot, Step, StepKind};
use crate::value::Value;

pub(super) type Partial<T> = Result<T, EvalError>;

/// The deepest nesting of bodies and rules that are looked into; those below become support rules.
pub(super) const DEEPEST: usize = 24;

/// How a step ends.
pub(super) enum Next<'a> {
    /// The state goes on.
    Go,
    /// The state never holds.
    Fail,
    /// These go on instead of it, in order.
    Split(Vec<State<'a>>),
}

pub(super) struct Evaluator<'a> {
    pub(super) program: &'a Program,
    pub(super) data: &'a Value,
    pub(super) input: Option<&'a Value>,
    pub(super) known: Known<'a>,
    pub(super) unknowns: &'a Unknowns,
    pub(super) facts: Facts<'a>,
    pub(super) options: &'a Options,
    pub(super) support: Support,
    /// Whether the steps at hand stand under modifiers, so that nothing of input, data and functions is known.
    pub(super) replaced: bool,
    pub(super) depth: usize,
    /// The parameters of the support rule that is written.
    pub(super) parameters: Vec<Var>,
    next_var: Var,
    written: u64,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        program: &'a Program,
        (data, input): (&'a Value, Option<&'a Value>),
        unknowns: &'a Unknowns,
        options: &'a Options,
        support: Support,
    ) -> Evaluator<'a> {
        let now = options.now.unwrap_or_default();
        Evaluator {
            program,
            data,
            input,
            known: Known::new(program, data, input, now, &options.limits),
            unknowns,
            facts: Facts::new(program, unknowns, options.limits.strict),
            options,
            support,
            replaced: false,
            depth: 0,
            parameters: Vec::new(),
            next_var: 0,
            written: 0,
        }
    }

    pub(super) fn fresh(&mut self) -> Var {
        self.next_var = self.next_var.saturating_add(1);
        self.next_var
    }

    /// Variables from this number on are new.
    pub(super) fn mark(&self) -> Var {
        self.next_var.saturating_add(1)
    }

    /// Adds a literal.
    pub(super) fn push(&mut self, state: &mut State<'a>, literal: Literal) {
        state.erring |= self.errs(&literal);
        state.literals.push(literal);
    }

    /// A variable for a term that cannot stand where it is used.
    pub(super) fn bind(&mut self, state: &mut State<'a>, term: Term) -> Term {
        if let Term::Var(_) = term {
            return term;
        }
        let var = Term::Var(self.fresh());
        self.push(state, Literal::Equal(var.clone(), term));
        var
    }

    /// All ways through the steps of a state. Without `branching` there is at most one.
    pub(super) fn explore(&mut self, start: State<'a>, branching: bool) -> Partial<Vec<State<'a>>> {
        let (mut open, mut done) = (vec![start], Vec::new());
        while let Some(mut state) = open.pop() {
            let next = match self.advance(&mut state, branching)? {
                Next::Split(states) if states.is_empty() => Next::Fail,
                next => next,
            };
            match next {
                Next::Go => {}
                Next::Fail if state.erring => {
                    state.literals.push(Literal::Never);
                    state.never = true;
                }
                Next::Fail => continue,
                Next::Split(states) => {
                    let parts: usize = states.iter().map(|state| state.literals.len() + state.frames.len()).sum();
                    self.known.tick(parts as u64)?;
                    open.extend(states.into_iter().rev());
                    if open.len() + done.len() > self.options.most_bodies {
                        return Err(self.known.limit("the residual has too many bodies"));
                    }
                    continue;
                }
            }
            self.written = self.written.saturating_add(size(&state.literals));
            if self.written > self.options.largest {
                return Err(self.known.limit("the residual is too large"));
            }
            done.push(state);
        }
        Ok(done)
    }

    /// Goes on to the end of the state, or to where it splits.
    fn advance(&mut self, state: &mut State<'a>, branching: bool) -> Partial<Next<'a>> {
        loop {
            self.known.tick(1)?;
            let Some(frame) = state.frames.last_mut() else { return Ok(Next::Go) };
            let Some(step) = frame.steps.get(frame.at) else {
                let Frame { then, .. } = *frame;
                if let Then::End = then {
                    return Ok(Next::Go);
                }
                if !self.finish(state, then) {
                    return Ok(Next::Fail);
                }
                continue;
            };
            frame.at += 1;
            match self.step(state, step, branching)? {
                Next::Go => {}
                other => return Ok(other),
            }
        }
    }

    /// The end of a rule's body: its value goes to where the rule is read. False where that never holds.
    fn finish(&mut self, state: &mut State<'a>, then: Then<'a>) -> bool {
        let value = match then {
            Then::End => return true,
            Then::Slot(value, _)
            | Then::Result(value, _)
            | Then::Element(value, ..)
            | Then::Key(value, ..)
            | Then::Member(value, _) => state.term(value),
        };
        state.frames.pop();
        match then {
            Then::End => true,
            Then::Slot(_, out) => {
                state.set(out, value);
                true
            }
            Then::Result(_, None) => self.truthy(state, value),
            Then::Result(_, Some(pattern)) => self.matches(state, pattern, value),
            Then::Element(_, key, item) => self.matches(state, key, value.clone()) && self.matches(state, item, value),
            Then::Key(_, key, out) => {
                state.set(out, value.clone());
                let key = state.term(key);
                self.unify(state, key, value)
            }
            Then::Member(_, item) => {
                let item = state.term(item);
                self.unify(state, item, value)
            }
        }
    }

    /// Adds that a term is not false; false where it is.
    pub(super) fn truthy(&mut self, state: &mut State<'a>, term: Term) -> bool {
        match term {
            Term::Const(value) => value != Value::Bool(false),
            Term::Var(_) | Term::Ref(..) => {
                self.push(state, Literal::Truthy(term));
                true
            }
            _ => true,
        }
    }

    /// Whether a state may go on in several ways. The bodies are asked one after the other, so an error in a later
    /// solution of an earlier body must not come before the first solution of a later body.
    pub(super) fn may_split(&self, state: &State<'a>) -> bool {
        if !self.options.limits.exhaustive {
            return !(state.erring && state.multiple);
        }
        let rest = |frame: &Frame<'a>| self.facts.errs(frame.steps.get(frame.at..).unwrap_or_default());
        !state.erring && !state.frames.iter().any(rest)
    }

    /// Whether the step reads only what is known, so that the machine can run it.
    fn is_known(&self, state: &State<'a>, step: &'a Step) -> bool {
        if self.replaced {
            let pure = matches!(
                step.kind,
                StepKind::Each { .. }
                    | StepKind::Match { .. }
                    | StepKind::Test { .. }
                    | StepKind::Compare { .. }
                    | StepKind::Traverse { .. }
                    | StepKind::Member { .. }
                    | StepKind::Get { base: Base::Value(_), .. }
            );
            if !pure {
                return false;
            }
        }
        let mut known = true;
        steps::slots(step, &mut |slot| known &= matches!(state.slot(slot), None | Some(Term::Const(_))));
        known && !self.facts.is_unknown(step)
    }

    /// Runs a step that reads only what is known. None where it fails with an error, or has several solutions that
    /// cannot be separated here.
    fn run_known(&mut self, state: &mut State<'a>, step: &'a Step, branching: bool) -> Partial<Option<Next<'a>>> {
        let mut given: Vec<(Slot, Value)> = Vec::new();
        steps::slots(step, &mut |slot| {
            if let Some(Term::Const(value)) = state.slot(slot) {
                given.push((slot, value.clone()));
            }
        });
        let wanted = steps::bound_by(step);
        let slots = state.frames.last().map_or(0, |frame| u32::try_from(frame.slots.len()).unwrap_or(u32::MAX));
        let mut rows = match self.known.solve(std::slice::from_ref(step), slots, given, &wanted) {
            Ok(rows) => rows,
            Err(error) if matches!(error.code, EvalCode::Limit | EvalCode::Cancel | EvalCode::Internal) => {
                return Err(error);
            }
            Err(_) => return Ok(None),
        };
        let fill = |state: &mut State<'a>, row: Vec<Value>| {
            wanted.iter().zip(row).for_each(|(slot, value)| state.set(*slot, Term::Const(value)));
        };
        match (rows.pop(), rows.is_empty()) {
            (None, _) => Ok(Some(Next::Fail)),
            (Some(row), true) => {
                fill(state, row);
                Ok(Some(Next::Go))
            }
            (Some(last), false) => {
                if !branching || rows.len() >= self.options.most_bodies || !self.may_split(state) {
                    return Ok(None);
                }
                rows.push(last);
                let one = |row| {
                    let mut state = state.clone();
                    fill(&mut state, row);
                    state
                };
                Ok(Some(Next::Split(rows.into_iter().map(one).collect())))
            }
        }
    }

    fn step(&mut self, state: &mut State<'a>, step: &'a Step, branching: bool) -> Partial<Next<'a>> {
        if self.is_known(state, step)
            && let Some(next) = self.run_known(state, step, branching)?
        {
            return Ok(next);
        }
        match &step.kind {
            StepKind::Get { base, keys, out } => {
                let start = match base {
                    Base::Input => Term::Ref(Root::Input, Vec::new()),
                    Base::Data => Term::Ref(Root::Data, Vec::new()),
                    Base::Value(operand) => state.term(operand),
                };
                let keys = state.terms(keys);
                self.get(state, start, &keys, *out, branching)
            }
            StepKind::Each { collection, key, value } => {
                let collection = state.term(collection);
                self.each(state, collection, (key, value), branching)
            }
            StepKind::Rule { set, out } => self.rule(state, *set, *out, branching),
            StepKind::Extent { node, out } => Ok(self.extent(state, *node, *out)),
            StepKind::Tree { node, path, out, .. } => Ok(self.tree(state, *node, path, *out)),
            StepKind::Match { value, pattern } => {
                let value = state.term(value);
                Ok(go(self.matches(state, pattern, value)))
            }
            StepKind::Test { value } => {
                let value = state.term(value);
                Ok(go(self.truthy(state, value)))
            }
            StepKind::Compare { op, left, right } => {
                let literal = Literal::Compare(order(*op), state.term(left), state.term(right));
                self.push(state, literal);
                Ok(Next::Go)
            }
            StepKind::Call { callee: Callee::Function(set), arguments, result } => {
                self.function(state, *set, arguments, result.as_ref(), branching)
            }
            StepKind::Call { callee: Callee::Builtin(builtin), arguments, result } => {
                let arguments = state.terms(arguments);
                Ok(self.builtin(state, builtin.name(), arguments, result.as_ref()))
            }
            StepKind::Traverse { value, result } => {
                let arguments = vec![state.term(value)];
                state.multiple = true;
                Ok(self.builtin(state, "walk", arguments, Some(result)))
            }
            StepKind::Member { key, value, collection, result } => {
                let literal = Literal::Member {
                    key: key.as_ref().map(|key| state.term(key)),
                    value: state.term(value),
                    collection: state.term(collection),
                    result: result.as_ref().map(|pattern| self.pattern_term(state, pattern)),
                };
                self.push(state, literal);
                Ok(Next::Go)
            }
            StepKind::Not { block } => self.not(state, block),
            StepKind::And { left, right } => self.both(state, left, right),
            StepKind::Or { left, right } => self.either(state, left, right),
            StepKind::Every(every) => self.every(state, every),
            StepKind::Collect(collect) => self.collect(state, collect).map(|()| Next::Go),
            StepKind::With { mods, block, outs } => self.with(state, mods, block, outs).map(|()| Next::Go),
            StepKind::Fail => Ok(Next::Fail),
        }
    }

    fn builtin(
        &mut self,
        state: &mut State<'a>,
        name: &'static str,
        arguments: Vec<Term>,
        result: Option<&'a Pattern>,
    ) -> Next<'a> {
        let result = result.map(|pattern| self.pattern_term(state, pattern));
        self.push(state, Literal::Call(Function::Builtin(name), arguments, result));
        Next::Go
    }

    /// Whether rules may be put in place of what reads them at this depth.
    pub(super) fn is_shallow(&self, state: &State<'a>) -> bool {
        self.depth + state.frames.len() < DEEPEST
    }

    /// Whether bodies within bodies may be looked into.
    pub(super) fn may_look(&self) -> bool {
        self.depth < DEEPEST
    }

    /// The operand's slot, if it is one.
    pub(super) fn is_slot(operand: &Operand, slot: Slot) -> bool {
        matches!(operand, Operand::Slot(other) if *other == slot)
    }
}

pub(super) fn go<'a>(holds: bool) -> Next<'a> {
    if holds { Next::Go } else { Next::Fail }
}

fn order(op: Compare) -> Order {
    match op {
        Compare::NotEqual => Order::NotEqual,
        Compare::Less => Order::Less,
        Compare::LessEqual => Order::LessEqual,
        Compare::Greater => Order::Greater,
        Compare::GreaterEqual => Order::GreaterEqual,
    }
}
