use std::time::Instant;

use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::output::{Format, line};

/// Prints milestones as they are reached, with the time since the start.
pub(super) struct Stopwatch {
    started: Instant,
    format: Format,
}

impl Stopwatch {
    pub(super) fn start(format: Format) -> Self {
        Self { started: Instant::now(), format }
    }

    /// One milestone: what was reached, the facts, and the command that shows more.
    pub(super) fn reached(&self, milestone: &str, text: &str, facts: Value, more: &str) -> Result<(), Failure> {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.format == Format::Table {
            return line(&format!("{:>7.3} s  {text}\n           {more}", self.started.elapsed().as_secs_f64()));
        }
        let mut object = Map::new();
        object.insert("milestone".into(), milestone.into());
        object.insert("ms".into(), millis.into());
        object.extend(facts.as_object().cloned().unwrap_or_default());
        object.insert("more".into(), more.into());
        line(&Value::Object(object).to_string())
    }

    /// A remark, on stderr.
    pub(super) fn note(&self, text: &str) {
        eprintln!("sekisho: {text}");
    }
}
