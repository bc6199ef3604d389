//! The evaluator: top-down, by steps over slots.

mod call;
mod coverage;
mod descent;
mod document;
mod error;
mod event;
mod known;
mod machine;
mod matching;
mod partial;
mod rules;
mod step;
#[cfg(test)]
mod tests;
mod trace;
mod tracing;
mod val;
mod watch;
mod with;

use std::sync::Arc;

pub use coverage::Coverage;
pub use error::{EvalCode, EvalError};
pub use event::{Event, Node, Op, Tracer};
pub(crate) use known::Known;
pub use machine::Limits;
pub use trace::{Considered, Failure, Trace};

use crate::builtins::Context;
use crate::program::{Program, Query, RuleSetId};
use crate::value::Value;

/// The variables of a solution: name, value, and whether the query declares the name.
pub(crate) type Row = Vec<(Arc<str>, Value, bool)>;

/// The solutions of a query.
pub(crate) fn run_query(
    program: &Program,
    query: &Query,
    data: &Value,
    input: Option<&Value>,
    context: &mut Context,
    limits: &Limits,
    tracer: Option<&mut dyn Tracer>,
) -> Result<Vec<Row>, EvalError> {
    let own = std::mem::replace(context, Context::new(context.now_ns));
    let mut machine = machine::Machine::new(program, data, input, own, limits);
    machine.tracing = tracer.map(|tracer| Box::new(event::Tracing::new(tracer, query.span)));
    let rows = query_rows(&mut machine, query);
    std::mem::swap(context, &mut machine.context);
    rows
}

fn query_rows<'a>(machine: &mut machine::Machine<'a>, query: &'a Query) -> Result<Vec<Row>, EvalError> {
    let base = machine.open_frame(query.slots);
    let mut rows = Vec::new();
    machine.run(&query.block, base, &mut |machine| {
        let value = |(name, slot, declared): &(Arc<str>, u32, bool)| {
            (name.clone(), Value::clone(machine.slot(base, *slot)), *declared)
        };
        rows.push(query.variables.iter().map(value).collect());
        Ok(true)
    })?;
    Ok(rows)
}

/// The document of one rule set.
pub(crate) fn run_rule(
    program: &Program,
    set: RuleSetId,
    data: &Value,
    input: Option<&Value>,
    context: &mut Context,
    limits: &Limits,
    coverage: Option<&mut Coverage>,
) -> Result<Option<Value>, EvalError> {
    let own = std::mem::replace(context, Context::new(context.now_ns));
    let mut machine = machine::Machine::new(program, data, input, own, limits);
    machine.coverage = coverage.as_ref().map(|_| Coverage::default());
    let found = machine.evaluate(set);
    let machine::Machine { context: own, coverage: seen, .. } = machine;
    *context = own;
    if let (Some(coverage), Some(seen)) = (coverage, seen) {
        coverage.join(seen);
    }
    found
}

/// The document of one rule set, and the rules that were considered.
pub(crate) fn explain_rule(
    program: &Program,
    set: RuleSetId,
    data: &Value,
    input: Option<&Value>,
    context: &mut Context,
    limits: &Limits,
) -> (Result<Option<Value>, EvalError>, Trace) {
    let own = std::mem::replace(context, Context::new(context.now_ns));
    let mut machine = machine::Machine::new(program, data, input, own, limits);
    machine.trace = Some(Trace::default());
    let found = machine.evaluate(set);
    let machine::Machine { context: own, trace, .. } = machine;
    *context = own;
    (found, trace.unwrap_or_default())
}

/// The document of one rule set, with a listener.
pub(crate) fn trace_rule(
    program: &Program,
    set: RuleSetId,
    data: &Value,
    input: Option<&Value>,
    context: &mut Context,
    limits: &Limits,
    tracer: &mut dyn Tracer,
) -> Result<Option<Value>, EvalError> {
    let own = std::mem::replace(context, Context::new(context.now_ns));
    let mut machine = machine::Machine::new(program, data, input, own, limits);
    machine.tracing = Some(Box::new(event::Tracing::new(tracer, crate::syntax::ast::Span::default())));
    let found = machine.evaluate(set);
    std::mem::swap(context, &mut machine.context);
    found
}
