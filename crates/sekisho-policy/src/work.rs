//! Limits of builtins in one decision. The engine counts a call as one step, however long its texts are; here calls are
//! counted by the size of arguments and result. The limit is a count and not a clock, so that a replay has the same
//! result.

use std::cell::Cell;

use regorus::Value;

/// Most units for one decision, about 100 ms: a unit is a byte that is read.
const BUDGET: u64 = 32 * 1024 * 1024;
/// A call itself.
const CALL: u64 = 16;
/// Largest argument and result of a builtin that copies or splits its argument.
const MAX_SIZE: u64 = 1024 * 1024;

thread_local! {
    /// A decision is made on one thread, and one thread makes one decision at a time.
    static DONE: Cell<u64> = const { Cell::new(0) };
}

/// How the work of a builtin grows with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// It reads a kind or a length.
    Flat,
    /// It searches texts.
    Scan,
    /// It creates a value for each part.
    Build,
}

impl Cost {
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "object.get" | "type_name" => Self::Flat,
            _ if name.starts_with("is_") => Self::Flat,
            "contains"
            | "endswith"
            | "startswith"
            | "strings.any_prefix_match"
            | "strings.any_suffix_match"
            | "count" => Self::Scan,
            _ => Self::Build,
        }
    }

    const fn of_byte(self) -> u64 {
        match self {
            Self::Flat => 0,
            Self::Scan => 1,
            Self::Build => 16,
        }
    }

    /// Counts a call of this size; the message names the exceeded limit.
    pub(crate) fn charge<'a>(self, values: impl IntoIterator<Item = &'a Value>) -> Result<(), &'static str> {
        let done = DONE.get();
        let limit = match self {
            Self::Flat => 0,
            Self::Scan => BUDGET,
            Self::Build => MAX_SIZE,
        };
        let size = if limit == 0 { 0 } else { size(values, limit) };
        if self == Self::Build && size > limit {
            return Err("the result would be larger than a decision may make");
        }
        let done = done.saturating_add(size.saturating_mul(self.of_byte())).saturating_add(CALL);
        DONE.set(done);
        if done > BUDGET { Err("more work than a decision may do") } else { Ok(()) }
    }
}

/// Begins a decision.
pub(crate) fn begin() {
    DONE.set(0);
}

/// Bytes of texts, and some for every other value; counting stops at `limit`.
fn size<'a>(values: impl IntoIterator<Item = &'a Value>, limit: u64) -> u64 {
    let (mut waiting, mut size): (Vec<&Value>, u64) = (values.into_iter().collect(), 0);
    while let Some(value) = waiting.pop() {
        size = size.saturating_add(match value {
            Value::String(text) => text.len() as u64 + 1,
            _ => 8,
        });
        if size > limit {
            break;
        }
        match value {
            Value::Array(items) => waiting.extend(items.iter()),
            Value::Set(items) => waiting.extend(items.iter()),
            Value::Object(members) => waiting.extend(members.iter().flat_map(|(key, value)| [key, value])),
            _ => {}
        }
    }
    size
}

/// How many values there are in one, and blocks of 256 bytes in their texts.
pub(crate) fn parts(value: &Value) -> u64 {
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
