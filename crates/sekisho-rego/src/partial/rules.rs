//! Rules that read what is unknown: their bodies are put in place of what reads them, where that changes neither a
//! value nor an error; else a support rule stands for them.

use super::run::{Evaluator, Next, Partial};
use super::state::{Frame, State, Then};
use super::steps;
use super::term::{Function, Literal, Root, Term};
use crate::program::{Base, Operand, Pattern, Rule, RuleKind, RuleSet, RuleSetId, Slot, Step, StepKind};
use crate::value::Value;

impl<'a> Evaluator<'a> {
    pub(super) fn rule(
        &mut self,
        state: &mut State<'a>,
        id: RuleSetId,
        out: Slot,
        branching: bool,
    ) -> Partial<Next<'a>> {
        let Some(set) = self.program.sets.get(id as usize) else { return Ok(Next::Fail) };
        if self.replaced || self.unknowns.touch(Root::Data, &set.path) {
            let term = self.original(&set.path);
            return Ok(self.document(state, term, out));
        }
        let reader = state.frames.last().and_then(|frame| frame.steps.get(frame.at));
        if self.may_inline(state, set) {
            let then = match set.kind {
                RuleKind::Complete if self.default_is_idle(set, |value| reader_refuses(state, reader, out, value)) => {
                    Some((Reader::Value(out), self.has_one_value(set)))
                }
                RuleKind::Set if branching => {
                    let reader = reader.and_then(|step| set_reader(step, out));
                    reader.filter(|_| !reads_later(state, out, 1)).map(|reader| (reader, !self.facts.set_errs(id)))
                }
                _ => None,
            };
            if let Some((reader, true)) = then
                && (set.rules.len() < 2 || branching && self.may_split(state))
            {
                if !matches!(reader, Reader::Value(_))
                    && let Some(frame) = state.frames.last_mut()
                {
                    frame.at += 1;
                }
                return Ok(self.inline(state, &set.rules, &[], |value| match reader {
                    Reader::Value(out) => Then::Slot(value, out),
                    Reader::Each(key, item) => Then::Element(value, key, item),
                    Reader::Key(key, to) => Then::Key(value, key, to),
                    Reader::Member(item) => Then::Member(value, item),
                }));
            }
        }
        let term = self.supported(id);
        Ok(self.document(state, term, out))
    }

    /// The document as a reference.
    fn document(&mut self, state: &mut State<'a>, term: Term, out: Slot) -> Next<'a> {
        self.push(state, Literal::Defined(term.clone()));
        state.set(out, term);
        Next::Go
    }

    pub(super) fn function(
        &mut self,
        state: &mut State<'a>,
        id: RuleSetId,
        arguments: &'a [Operand],
        result: Option<&'a Pattern>,
        branching: bool,
    ) -> Partial<Next<'a>> {
        let Some(set) = self.program.sets.get(id as usize) else { return Ok(Next::Fail) };
        let arguments = state.terms(arguments);
        if !self.replaced && self.may_inline(state, set) {
            let refuses = |value: &Value| match result {
                None => *value == Value::Bool(false),
                Some(Pattern::Equal(operand)) => state.term(operand).as_const().is_some_and(|other| other != value),
                Some(_) => false,
            };
            if self.default_is_idle(set, refuses)
                && self.has_one_value(set)
                && (set.rules.len() < 2 || branching && self.may_split(state))
            {
                return Ok(self.inline(state, &set.rules, &arguments, |value| Then::Result(value, result)));
            }
        }
        let path = if self.replaced { self.original(&set.path) } else { self.supported(id) };
        let path = match path {
            Term::Ref(_, keys) => keys.iter().filter_map(|key| key.as_const().cloned()).collect(),
            _ => set.path.clone(),
        };
        let result = result.map(|pattern| self.pattern_term(state, pattern));
        self.push(state, Literal::Call(Function::Rule(path), arguments, result));
        Ok(Next::Go)
    }

    /// Whether rules of this set may be put in place at all.
    fn may_inline(&self, state: &State<'a>, set: &RuleSet) -> bool {
        let shown = |path: &Vec<Value>| set.path.starts_with(path);
        let single = set.rules.iter().all(|rule| rule.branches.len() == 1);
        !self.options.shallow && single && self.is_shallow(state) && !self.options.not_inlined.iter().any(shown)
    }

    /// Whether the default, if there is one, is refused by what reads the value.
    fn default_is_idle(&self, set: &RuleSet, refuses: impl Fn(&Value) -> bool) -> bool {
        match set.default.as_ref().map(|rule| &*rule.branches) {
            None => true,
            Some([branch]) => matches!(&branch.value, Operand::Const(value) if refuses(value)),
            Some(_) => false,
        }
    }

    /// Whether the rules cannot contradict each other, and no error depends on which of them is tried.
    fn has_one_value(&self, set: &RuleSet) -> bool {
        let multiple = |rule: &Rule| rule.branches.iter().any(|branch| steps::is_multiple(&branch.block.steps));
        match set.rules.as_slice() {
            [] => true,
            [rule] if !multiple(rule) => true,
            rules => {
                let errs = |rule: &Rule| rule.branches.iter().any(|branch| self.facts.errs(&branch.block.steps));
                set.constant && !rules.iter().any(errs)
            }
        }
    }

    /// Goes on in the bodies of rules, one state for each.
    fn inline(
        &mut self,
        state: &mut State<'a>,
        rules: &'a [Rule],
        arguments: &[Term],
        then: impl Fn(&'a Operand) -> Then<'a>,
    ) -> Next<'a> {
        let mut states = Vec::with_capacity(rules.len());
        for rule in rules {
            let Some(branch) = rule.branches.first() else { continue };
            let mut state = state.clone();
            let slots = vec![None; rule.slots as usize];
            let then = then(&branch.value);
            state.frames.push(Frame { steps: &branch.block.steps, at: 0, slots, then });
            let mut parameters = rule.parameters.iter().zip(arguments);
            if parameters.all(|(pattern, argument)| self.matches(&mut state, pattern, argument.clone())) {
                states.push(state);
            }
        }
        if states.len() > 1 {
            return Next::Split(states);
        }
        match states.pop() {
            Some(only) => {
                *state = only;
                Next::Go
            }
            None => Next::Fail,
        }
    }
}

/// How a document is read by the step behind it.
enum Reader<'a> {
    Value(Slot),
    Each(&'a Pattern, &'a Pattern),
    Key(&'a Operand, Slot),
    Member(&'a Operand),
}

/// A step that reads a set by its elements only.
fn set_reader<'a>(step: &'a Step, set: Slot) -> Option<Reader<'a>> {
    match &step.kind {
        StepKind::Each { collection, key, value } if Evaluator::is_slot(collection, set) => {
            Some(Reader::Each(key, value))
        }
        StepKind::Get { base: Base::Value(start), keys, out } if Evaluator::is_slot(start, set) => match &**keys {
            [key] => Some(Reader::Key(key, *out)),
            _ => None,
        },
        StepKind::Member { key: None, value, collection, result: None } if Evaluator::is_slot(collection, set) => {
            Some(Reader::Member(value))
        }
        _ => None,
    }
}

/// Whether the step behind a document holds for none but another value of it.
fn reader_refuses(state: &State<'_>, reader: Option<&Step>, out: Slot, value: &Value) -> bool {
    match reader.map(|step| &step.kind) {
        Some(StepKind::Test { value: read }) => Evaluator::is_slot(read, out) && *value == Value::Bool(false),
        Some(StepKind::Match { value: read, pattern: Pattern::Equal(other) }) if Evaluator::is_slot(read, out) => {
            state.term(other).as_const().is_some_and(|other| other != value)
        }
        _ => false,
    }
}

/// Whether a slot is read by the steps of the innermost body that remain after so many of them, or at its end.
pub(super) fn reads_later(state: &State<'_>, slot: Slot, after: usize) -> bool {
    let Some(frame) = state.frames.last() else { return true };
    let mut found = false;
    for step in frame.steps.get(frame.at + after..).unwrap_or_default() {
        steps::slots(step, &mut |other| found |= other == slot);
    }
    match frame.then {
        Then::End => found |= state.ends.contains(&slot),
        Then::Slot(value, _)
        | Then::Result(value, _)
        | Then::Element(value, ..)
        | Then::Key(value, ..)
        | Then::Member(value, _) => steps::operand_slots(value, &mut |other| found |= other == slot),
    }
    found
}
