//! One way through a body that is not finished: what its slots stand for, and what remains to be asked.

use std::rc::Rc;

use super::term::{Literal, Term};
use crate::program::{Operand, Pattern, Slot, Step};
use crate::value::{Object, Set, Value};

/// The steps of a body and how far they are.
#[derive(Clone)]
pub(super) struct Frame<'a> {
    pub(super) steps: &'a [Step],
    pub(super) at: usize,
    /// What the slots stand for; none where a slot is not bound.
    pub(super) slots: Vec<Option<Term>>,
    pub(super) then: Then<'a>,
}

/// What happens with the value of a rule at the end of its body.
#[derive(Clone, Copy)]
pub(super) enum Then<'a> {
    /// The body is the whole.
    End,
    /// A slot receives it.
    Slot(&'a Operand, Slot),
    /// It is matched with a pattern, or must not be false.
    Result(&'a Operand, Option<&'a Pattern>),
    /// It is an element of a set; key and value are matched with it.
    Element(&'a Operand, &'a Pattern, &'a Pattern),
    /// It is an element of a set, must equal the key, and goes to a slot.
    Key(&'a Operand, &'a Operand, Slot),
    /// It is an element of a set, and must equal the operand.
    Member(&'a Operand, &'a Operand),
}

#[derive(Clone)]
pub(super) struct State<'a> {
    pub(super) frames: Vec<Frame<'a>>,
    /// The slots that are read at the end of the outermost body.
    pub(super) ends: Rc<[Slot]>,
    pub(super) literals: Vec<Literal>,
    /// Whether a literal so far can fail with an error.
    pub(super) erring: bool,
    /// Whether the literals so far can have more than one solution.
    pub(super) multiple: bool,
    /// Whether the last literal never holds.
    pub(super) never: bool,
}

impl<'a> State<'a> {
    pub(super) fn new(steps: &'a [Step], slots: Vec<Option<Term>>, ends: Vec<Slot>) -> State<'a> {
        let frames = vec![Frame { steps, at: 0, slots, then: Then::End }];
        State { frames, ends: ends.into(), literals: Vec::new(), erring: false, multiple: false, never: false }
    }

    pub(super) fn slot(&self, slot: Slot) -> Option<&Term> {
        self.frames.last()?.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn set(&mut self, slot: Slot, term: Term) {
        if let Some(place) = self.frames.last_mut().and_then(|frame| frame.slots.get_mut(slot as usize)) {
            *place = Some(term);
        }
    }

    /// What the slots of the innermost body stand for.
    pub(super) fn slots(&self) -> Vec<Option<Term>> {
        self.frames.last().map(|frame| frame.slots.clone()).unwrap_or_default()
    }

    /// The term an operand stands for.
    pub(super) fn term(&self, operand: &Operand) -> Term {
        match operand {
            Operand::Const(value) => Term::Const(value.clone()),
            Operand::Slot(slot) => self.slot(*slot).cloned().unwrap_or(Term::Const(Value::Null)),
            Operand::Array(items) => array(items.iter().map(|item| self.term(item)).collect()),
            Operand::Set(items) => set(items.iter().map(|item| self.term(item)).collect()),
            Operand::Object(members) => {
                object(members.iter().map(|(key, value)| (self.term(key), self.term(value))).collect())
            }
        }
    }

    pub(super) fn terms(&self, operands: &[Operand]) -> Vec<Term> {
        operands.iter().map(|operand| self.term(operand)).collect()
    }
}

fn constants(items: &[Term]) -> Option<Vec<Value>> {
    items.iter().map(|item| item.as_const().cloned()).collect()
}

pub(super) fn array(items: Vec<Term>) -> Term {
    constants(&items).map_or_else(|| Term::Array(items), |values| Term::Const(values.into()))
}

fn set(items: Vec<Term>) -> Term {
    let values = constants(&items);
    values.map_or_else(|| Term::Set(items), |values| Term::Const(Value::Set(Set::from_vec(values))))
}

fn object(members: Vec<(Term, Term)>) -> Term {
    let known: Option<Vec<_>> =
        members.iter().map(|(key, value)| Some((key.as_const()?.clone(), value.as_const()?.clone()))).collect();
    known.map_or_else(|| Term::Object(members), |members| Term::Const(Value::Object(Object::from_vec(members))))
}
