//! The places of modules at which steps were executed.

use std::collections::HashSet;

use crate::syntax::ast::Span;

/// The places of modules at which steps were executed. A step's place holds all terms that it reads.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Module, first byte, byte after the last one.
    seen: HashSet<(u32, u32, u32)>,
}

impl Coverage {
    /// Whether a step was executed at a place that shares bytes with this one of the module with this number.
    #[must_use]
    pub fn touches(&self, module: usize, span: Span) -> bool {
        let touches = |(seen, start, end): &(u32, u32, u32)| {
            usize::try_from(*seen) == Ok(module) && *start < span.end && span.start < *end
        };
        self.seen.iter().any(touches)
    }

    pub(super) fn add(&mut self, module: u32, span: Span) {
        self.seen.insert((module, span.start, span.end));
    }

    pub(super) fn join(&mut self, other: Coverage) {
        self.seen.extend(other.seen);
    }
}
