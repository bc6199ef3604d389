use std::sync::atomic::{AtomicU64, Ordering};

/// What the server counts for its operators.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub x509_svids_issued: AtomicU64,
    pub jwt_svids_issued: AtomicU64,
    pub attestations: AtomicU64,
    pub refusals: AtomicU64,
    pub records_taken: AtomicU64,
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }

    /// Name, meaning and value of each.
    pub(crate) fn all(&self) -> [(&'static str, &'static str, u64); 5] {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            (
                "x509_svids_issued_total",
                "X.509-SVIDs issued, the server's and agents' own included.",
                value(&self.x509_svids_issued),
            ),
            ("jwt_svids_issued_total", "JWT-SVIDs issued.", value(&self.jwt_svids_issued)),
            ("attestations_total", "Attestations that succeeded.", value(&self.attestations)),
            ("refusals_total", "Refusals, logged or counted.", value(&self.refusals)),
            (
                "records_taken_total",
                "Decisions and refusals made on nodes that were recorded.",
                value(&self.records_taken),
            ),
        ]
    }
}
