//! Listeners to evaluations: an explanation, a profiler, coverage.

mod cover;
mod explanation;
mod place;
mod profiler;
#[cfg(test)]
mod tests;

pub use cover::{Cover, FileReport, Range, Report};
pub use explanation::{Detail, Explanation, Line};
pub use profiler::{Order, Profiler, Spent};

use crate::eval::{Event, Tracer};

/// Several listeners to one evaluation.
#[derive(Default)]
pub struct Several<'t> {
    tracers: Vec<&'t mut dyn Tracer>,
}

impl<'t> Several<'t> {
    /// No listener yet.
    #[must_use]
    pub fn new() -> Several<'t> {
        Several::default()
    }

    /// One more.
    pub fn add(&mut self, tracer: &'t mut dyn Tracer) {
        self.tracers.push(tracer);
    }

    /// Whether nothing listens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracers.is_empty()
    }
}

impl Tracer for Several<'_> {
    fn event(&mut self, event: &Event<'_>) {
        self.tracers.iter_mut().for_each(|tracer| tracer.event(event));
    }

    fn wants_values(&self) -> bool {
        self.tracers.iter().any(|tracer| tracer.wants_values())
    }
}
