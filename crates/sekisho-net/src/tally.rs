//! Failures of unauthenticated peers, counted by reason. Anyone who can open a connection can cause any number of them,
//! so they are counted in windows of time, and a window has few records.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Distinct reasons in one window; a peer may choose parts of them.
const MAX_REASONS: usize = 8;
/// Characters of a reason.
const MAX_REASON: usize = 300;
/// The reason of all the others.
const OTHERS: &str = "other reasons";

/// The failures for one reason in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tallied {
    pub reason: String,
    pub count: u64,
    /// The address that was first.
    pub first: String,
}

#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<String, Tallied>>);

impl Tally {
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Counts one of `peer`, which `reason` may name. True if it is the first of its window.
    pub fn add(&self, peer: &str, reason: &str) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = window.is_empty();
        // One peer with many ports gives one reason.
        let mut reason: String = reason.replace(peer, "the peer").chars().take(MAX_REASON).collect();
        if window.len() >= MAX_REASONS && !window.contains_key(&reason) {
            reason = OTHERS.to_owned();
        }
        let new = || Tallied { reason: reason.clone(), count: 0, first: peer.to_owned() };
        window.entry(reason.clone()).or_insert_with(new).count += 1;
        is_first
    }

    /// Ends the window.
    pub fn take(&self) -> Vec<Tallied> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l9_a_window_has_few_records_and_counts_all() {
        let tally = Tally::default();
        assert!(tally.add("10.0.0.1:1", "10.0.0.1:1: the TLS handshake failed"));
        for port in 2..=1000 {
            assert!(!tally.add(&format!("10.0.0.1:{port}"), &format!("10.0.0.1:{port}: the TLS handshake failed")));
        }
        for number in 0..5000 {
            tally.add("10.0.0.2:1", &format!("chosen by the peer: {number}"));
        }
        let window = tally.take();
        assert_eq!(window.len(), MAX_REASONS + 1);
        assert_eq!(window.iter().map(|tallied| tallied.count).sum::<u64>(), 6000);
        let handshakes = window.iter().find(|tallied| tallied.reason == "the peer: the TLS handshake failed").unwrap();
        assert_eq!((handshakes.count, handshakes.first.as_str()), (1000, "10.0.0.1:1"));
        assert!(tally.take().is_empty() && tally.add("10.0.0.1:1", "again"));
    }
}
