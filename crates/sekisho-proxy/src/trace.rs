//! W3C Trace Context: the caller's trace goes on, or a new one begins.

use sekisho_runtime::random_hex;

#[derive(Clone)]
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
        // One draw for both.
        let mut fresh = random_hex(24);
        let span_id = fresh.split_off(32);
        Self { trace_id: parent.map_or(fresh, str::to_owned), span_id }
    }

    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.span_id)
    }
}
