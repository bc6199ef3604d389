//! `with`: steps under a replaced input, replaced data or replaced functions.

use super::call::callee_id;
use super::document::put;
use super::machine::{COMPARED, Cache, CalleeId, Eval, Machine, Replaced};
use super::val::Val;
use crate::program::{Block, Mock, Slot, Target, WithMod};
use crate::syntax::ast::Span;
use crate::value::Value;

impl<'a> Machine<'a> {
    pub(super) fn with(
        &mut self,
        mods: &'a [WithMod],
        block: &'a Block,
        outs: &'a [Slot],
        at: usize,
        span: Span,
        base: usize,
    ) -> Eval<bool> {
        let (input, data) = (self.input.clone(), self.data.clone());
        let (targets, mocks) = (self.targets.len(), self.mocks.len());
        for modifier in mods {
            self.replace(modifier, base);
        }
        for value in self.input.iter().chain([&self.data]) {
            self.admit(value, span)?;
        }
        self.tick(mods.iter().map(|modifier| self.copied(modifier)).sum())?;
        self.caches.push(Cache::default());
        let mut rows = Vec::new();
        self.run(block, base, &mut |machine| {
            rows.push(machine.row(base, outs));
            Ok(true)
        })?;
        self.caches.pop();
        self.input = input;
        self.data = data;
        self.targets.truncate(targets);
        self.mocks.truncate(mocks);
        if rows.len() == 1 {
            for row in rows {
                outs.iter().zip(row).for_each(|(slot, value)| self.set(base, *slot, value));
            }
            return Ok(true);
        }
        if !rows.is_empty() {
            self.choose_rows(at, rows);
        }
        Ok(false)
    }

    /// The members of the objects that a modifier copies, as steps.
    fn copied(&self, modifier: &WithMod) -> u64 {
        let (document, path) = match &modifier.target {
            Target::Input(path) => (self.input.as_deref(), path),
            Target::Data(path) => (Some(&*self.data), path),
            Target::Builtin(_) | Target::Function(_) => return 0,
        };
        let (mut at, mut members) = (document, 0);
        for key in path.iter() {
            members += at.and_then(Value::as_object).map_or(0, |object| object.len() as u64);
            at = at.and_then(|value| value.get(key));
        }
        members / COMPARED
    }

    fn replace(&mut self, modifier: &'a WithMod, base: usize) {
        let by = match &modifier.value {
            Mock::Value(operand) => Replaced::Value(self.operand(operand, base)),
            Mock::Callee(callee) => Replaced::Callee(*callee),
        };
        match (&modifier.target, by) {
            (Target::Builtin(builtin), by) => self.mocks.push((CalleeId::Builtin(builtin.name()), by)),
            (Target::Function(set), by) => self.mocks.push((callee_id(crate::program::Callee::Function(*set)), by)),
            (Target::Input(path), Replaced::Value(value)) => {
                self.input = Some(match path.is_empty() {
                    true => value,
                    false => Val::Own(put(self.input.as_deref(), path, value.into_value())),
                });
            }
            (Target::Data(path), Replaced::Value(value)) => {
                self.data = match path.is_empty() {
                    true => value,
                    false => Val::Own(put(Some(&self.data), path, value.into_value())),
                };
                self.targets.push(path.clone());
            }
            (Target::Input(_) | Target::Data(_), Replaced::Callee(_)) => {}
        }
    }
}
