//! W3C Trace Context: the caller's trace goes on, or a new one begins.

use sekisho_runtime::random_hex;

pub(crate) struct Trace {
    pub trace_id: String,
    pub span_id: String,
}

impl Trace {
    /// The trace of a `traceparent` header, with a span of our own.
    pub(crate) fn of(traceparent: Option<&String>) -> Self {
        let parent = traceparent.and_then(|text| text.split('-').nth(1)).filter(|id| {
            id.len() == 32
                && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                && id.bytes().any(|b| b != b'0')
        });
        Self { trace_id: parent.map_or_else(|| random_hex(16), str::to_owned), span_id: random_hex(8) }
    }

    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.span_id)
    }
}
