//! What builtins of one decision may use. The work is a count and not a clock, so that a replay has the same result.

use std::cell::Cell;
use std::sync::LazyLock;

use sekisho_rego::Limits;
use sekisho_rego::builtins::Context;
use sekisho_rego::decision::Scratch;
use sekisho_rego::value::Value;
use sekisho_types::UnixTime;

/// Most work of builtins for one decision: about a unit for each byte that is read or written.
pub(crate) const WORK: u64 = 8 * 1024 * 1024;
/// A policy set has no data but its rules.
pub(crate) static NO_DATA: LazyLock<Value> = LazyLock::new(Value::empty_object);
/// Most steps that one decision may take before it is an error, and so a denial: about 25 ms where nothing in it is
/// large.
const MAX_STEPS: u64 = 400_000;
/// Parts of an input that leave all of them: values, and blocks of 256 bytes in texts.
const PARTS: u64 = 128;
/// Most values within one value, counted as often as they appear in it.
const MAX_SIZE: u64 = 1_000_000;
/// Most rules, comprehensions and negations within each other: the engine follows them on its stack.
const MAX_NESTED: u32 = 64;

thread_local! {
    /// A decision is made on one thread, and one thread makes one decision at a time: patterns that were compiled for
    /// one are there for the next.
    static KEPT: Cell<Option<Context>> = const { Cell::new(None) };
    /// What a table writes on.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Gives `judge` what the last decision of this thread wrote on, grown to its size.
pub(crate) fn with_scratch<T>(judge: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let judged = judge(&mut scratch);
    SCRATCH.set(Some(scratch));
    judged
}

/// The context of a decision that begins.
pub(crate) fn take(now: UnixTime) -> Context {
    let mut context = match KEPT.take() {
        Some(kept) => kept.renewed(now.nanos()),
        None => Context::new(now.nanos()),
    };
    context.set_work(WORK);
    context
}

/// The context of a decision that is made.
pub(crate) fn keep(context: &mut Context) {
    KEPT.set(Some(std::mem::replace(context, Context::new(0))));
}

/// A step may look at all of the input: a large one leaves fewer.
pub(crate) fn limits(input: Option<&Value>) -> Limits {
    let steps = MAX_STEPS / (1 + input.map_or(0, parts) / PARTS);
    // An error in any rule denies, in whatever order they stand (law L3).
    Limits { steps: steps.max(1), depth: MAX_NESTED, size: MAX_SIZE, strict: true, exhaustive: true, interrupt: None }
}

/// How many values there are in one, and blocks of 256 bytes in their texts.
fn parts(value: &Value) -> u64 {
    let (mut waiting, mut parts) = (vec![value], 0u64);
    while let Some(value) = waiting.pop() {
        parts += 1;
        match value {
            Value::String(text) => parts += text.len() as u64 / 256,
            Value::Array(items) => waiting.extend(items.iter()),
            Value::Set(items) => waiting.extend(items.iter()),
            Value::Object(members) => waiting.extend(members.iter().flat_map(|(key, value)| [key, value])),
            _ => {}
        }
    }
    parts
}
