//! Builtins that we answer ourselves.

use regorus::{Engine, Value};
use sekisho_types::UnixTime;

/// Binds `engine`, a copy made for one decision, to its `now` and to our builtins.
pub(crate) fn bind(engine: &mut Engine, now: UnixTime) -> Result<(), String> {
    let nanos = now.nanos();
    let mut add = |name: &str, arguments: u8, builtin: Box<dyn regorus::Extension>| {
        engine.add_extension(name.to_owned(), arguments, builtin).map_err(|e| e.to_string())
    };
    // A decision can be replayed, so the clock is the decision's (design: "what the walks fix").
    add("time.now_ns", 0, Box::new(move |_| Ok(Value::from(nanos))))?;
    // A decision that draws lots cannot be replayed.
    add("rand.intn", 2, Box::new(|_| Err(std::io::Error::other("`rand.intn` is not available here").into())))?;
    // The engine's own panics on an empty pattern and counts overlaps.
    add("strings.count", 2, Box::new(|arguments| Ok(strings_count(&arguments))))
}

fn strings_count(arguments: &[Value]) -> Value {
    match arguments {
        [Value::String(text), Value::String(pattern)] if pattern.is_empty() => {
            Value::from(text.chars().count() as u64 + 1)
        }
        [Value::String(text), Value::String(pattern)] => Value::from(text.matches(pattern.as_ref()).count() as u64),
        _ => Value::Undefined,
    }
}
