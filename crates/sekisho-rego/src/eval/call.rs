//! Calls: built-in functions, functions of modules, and what modifiers put in their place.

use super::error::{EvalCode, EvalError};
use super::machine::{Cache, CalleeId, Eval, Machine, Replaced};
use super::val::Val;
use crate::builtins::{Builtin, BuiltinError, ErrorKind};
use crate::program::{Callee, Operand, Pattern};
use crate::syntax::ast::Span;
use crate::value::Value;

impl<'a> Machine<'a> {
    pub(super) fn call_step(
        &mut self,
        callee: Callee,
        arguments: &'a [Operand],
        result: Option<&'a Pattern>,
        span: Span,
        base: usize,
    ) -> Eval<bool> {
        let value = if self.mocks.is_empty() {
            self.call(callee, arguments, span, base)?
        } else {
            self.call_replaced(callee, arguments, span, base)?
        };
        Ok(match (value, result) {
            (None, _) => false,
            (Some(value), Some(pattern)) => self.matches(pattern, value, base),
            (Some(value), None) => !value.is_false(),
        })
    }

    fn call_replaced(
        &mut self,
        callee: Callee,
        arguments: &'a [Operand],
        span: Span,
        base: usize,
    ) -> Eval<Option<Val<'a>>> {
        let id = callee_id(callee);
        let replaced = self.mocks.iter().rev().find(|(target, _)| *target == id).map(|(_, by)| by.clone());
        match replaced {
            None => self.call(callee, arguments, span, base),
            Some(Replaced::Value(value)) => Ok(Some(value)),
            Some(Replaced::Callee(callee)) => {
                // What is known under the mocks is not what holds without them.
                let mocks = std::mem::take(&mut self.mocks);
                self.caches.push(Cache::default());
                let result = self.call(callee, arguments, span, base);
                self.caches.pop();
                self.mocks = mocks;
                result
            }
        }
    }

    fn call(&mut self, callee: Callee, arguments: &'a [Operand], span: Span, base: usize) -> Eval<Option<Val<'a>>> {
        match callee {
            Callee::Function(set) => {
                let arguments: Vec<_> = arguments.iter().map(|argument| self.operand(argument, base)).collect();
                arguments.iter().try_for_each(|argument| self.admit(argument, span))?;
                self.function(set, arguments)
            }
            Callee::Builtin(builtin) => {
                let value = |operand| self.operand(operand, base).into_value();
                match arguments {
                    [a] => self.builtin(builtin, &[value(a)], span),
                    [a, b] => self.builtin(builtin, &[value(a), value(b)], span),
                    [a, b, c] => self.builtin(builtin, &[value(a), value(b), value(c)], span),
                    _ => self.builtin(builtin, &arguments.iter().map(value).collect::<Vec<_>>(), span),
                }
            }
        }
    }

    fn builtin(&mut self, builtin: &'static Builtin, values: &[Value], span: Span) -> Eval<Option<Val<'a>>> {
        values.iter().try_for_each(|value| self.admit(value, span))?;
        let notes = self.context.notes.len();
        let outcome = builtin.call(&mut self.context, values);
        if self.is_traced() {
            self.trace_notes(notes, span);
        }
        match outcome {
            Ok(Some(found)) => {
                self.admit(&found, span)?;
                Ok(Some(Val::Own(found)))
            }
            Ok(None) => Ok(None),
            Err(error) if self.limits.strict || error.is_fatal() => Err(self.builtin_error(builtin, error, span)),
            Err(_) => Ok(None),
        }
    }

    fn builtin_error(&self, builtin: &Builtin, error: BuiltinError, span: Span) -> EvalError {
        let code = match error.kind {
            ErrorKind::Type => EvalCode::Type,
            ErrorKind::Limit => EvalCode::Limit,
            _ => EvalCode::Builtin,
        };
        let name = builtin.name();
        let message = if error.message.strip_prefix(name).is_some_and(|rest| rest.starts_with(": ")) {
            error.message
        } else {
            format!("{name}: {}", error.message)
        };
        self.error(code, message, span)
    }
}

pub(super) fn callee_id(callee: Callee) -> CalleeId {
    match callee {
        Callee::Builtin(builtin) => CalleeId::Builtin(builtin.name()),
        Callee::Function(set) => CalleeId::Function(set),
    }
}
