//! The machine for partial evaluation: it runs those steps that read only what is known.

use super::error::{EvalCode, EvalError};
use super::machine::{Limits, Machine};
use super::val::Val;
use crate::builtins::Context;
use crate::program::{Program, Slot, Step};
use crate::syntax::ast::Span;
use crate::value::Value;

/// A machine that lives as long as a partial evaluation, so that each document is evaluated once.
pub(crate) struct Known<'a> {
    program: &'a Program,
    data: &'a Value,
    input: Option<&'a Value>,
    now: i64,
    limits: &'a Limits,
    machine: Machine<'a>,
}

impl<'a> Known<'a> {
    pub(crate) fn new(
        program: &'a Program,
        data: &'a Value,
        input: Option<&'a Value>,
        now: i64,
        limits: &'a Limits,
    ) -> Known<'a> {
        let machine = Machine::new(program, data, input, Context::new(now), limits);
        Known { program, data, input, now, limits, machine }
    }

    /// Counts work; ends the evaluation where there was too much.
    pub(crate) fn tick(&mut self, work: u64) -> Result<(), EvalError> {
        self.machine.tick(work)
    }

    /// An error of a bound that the partial evaluation itself has.
    pub(crate) fn limit(&self, message: &str) -> EvalError {
        self.machine.error(EvalCode::Limit, message, Span::default())
    }

    /// The solutions of steps in a frame of which some slots are known: the values of the wanted slots.
    pub(crate) fn solve(
        &mut self,
        steps: &'a [Step],
        slots: u32,
        known: Vec<(Slot, Value)>,
        wanted: &[Slot],
    ) -> Result<Vec<Vec<Value>>, EvalError> {
        let base = self.machine.open_frame(slots);
        for (slot, value) in known {
            self.machine.set(base, slot, Val::Own(value));
        }
        let mut rows = Vec::new();
        let result = self.machine.run_steps(steps, base, &mut |machine| {
            rows.push(machine.row(base, wanted).into_vec().into_iter().map(Val::into_value).collect());
            machine.tick(wanted.len() as u64)?;
            Ok(true)
        });
        self.machine.close_frame(base);
        if result.is_err() {
            // An error leaves modifiers in force.
            let steps = self.machine.steps();
            self.machine = Machine::new(self.program, self.data, self.input, Context::new(self.now), self.limits);
            self.machine.charge(steps);
        }
        result.map(|()| rows)
    }
}
