//! W3C Trace Context: the caller's trace goes on, or a new one begins.

use sekisho_runtime::{TraceParent, random_id};

/// The span of one decision.
#[derive(Clone, Copy)]
pub(crate) struct Trace {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
}

impl Trace {
    /// A span of our own below `parent`, or in a trace of its own.
    pub(crate) fn below(parent: Option<TraceParent>) -> Self {
        // One draw for both.
        let [id @ .., a, b, c, d, e, f, g, h]: [u8; 24] = random_id();
        Self { trace_id: parent.map_or(id, |parent| parent.trace), span_id: [a, b, c, d, e, f, g, h] }
    }

    pub(crate) const fn traceparent(&self) -> TraceParent {
        TraceParent { trace: self.trace_id, span: self.span_id }
    }
}
