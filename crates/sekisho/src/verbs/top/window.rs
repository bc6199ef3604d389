//! What services decided in the last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// Decisions of one service that are remembered; at more than that many the window is shorter.
const MOST: usize = 100_000;

pub(super) struct Window {
    length: Duration,
    /// Nothing was seen before that.
    opened: Instant,
    services: BTreeMap<String, VecDeque<Seen>>,
}

struct Seen {
    at: Instant,
    is_denied: bool,
    micros: u64,
}

/// A service in a window.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub(super) struct Rates {
    pub decisions_per_second: f64,
    pub denied_percent: f64,
    pub p50_us: u64,
    pub p99_us: u64,
}

impl Window {
    pub(super) const fn new(length: Duration, opened: Instant) -> Self {
        Self { length, opened, services: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, service: String, at: Instant, is_denied: bool, micros: u64) {
        let seen = self.services.entry(service).or_default();
        if seen.len() == MOST {
            seen.pop_front();
        }
        seen.push_back(Seen { at, is_denied, micros });
    }

    /// Each service that has been seen, also if not in this window.
    pub(super) fn rates(&mut self, now: Instant) -> BTreeMap<String, Rates> {
        let (length, open) = (self.length, now.duration_since(self.opened));
        let rates = |seen: &mut VecDeque<Seen>| {
            while seen.front().is_some_and(|first| now.duration_since(first.at) > length) {
                seen.pop_front();
            }
            let full = seen.front().filter(|_| seen.len() == MOST).map(|first| now.duration_since(first.at));
            of(seen, full.unwrap_or(length).min(open))
        };
        self.services.iter_mut().map(|(service, seen)| (service.clone(), rates(seen))).collect()
    }
}

/// `period` is how long these took.
fn of(seen: &VecDeque<Seen>, period: Duration) -> Rates {
    if seen.is_empty() {
        return Rates::default();
    }
    let mut micros: Vec<u64> = seen.iter().map(|seen| seen.micros).collect();
    micros.sort_unstable();
    let quantile = |percent: usize| micros.get((micros.len() - 1) * percent / 100).copied().unwrap_or(0);
    let (count, denied) = (seen.len() as f64, seen.iter().filter(|seen| seen.is_denied).count() as f64);
    Rates {
        decisions_per_second: count / period.as_secs_f64().max(0.001),
        denied_percent: 100.0 * denied / count,
        p50_us: quantile(50),
        p99_us: quantile(99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_what_is_in_it() {
        let start = sekisho_runtime::instant();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::new(Duration::from_secs(10), start);
        window.add("a".into(), at(0), true, 900);
        for micros in 1..=4 {
            window.add("a".into(), at(5), micros == 4, micros * 100);
        }
        let rates = window.rates(at(12));
        let expected = Rates { decisions_per_second: 0.4, denied_percent: 25.0, p50_us: 200, p99_us: 300 };
        assert_eq!(rates["a"], expected);
        assert_eq!(window.rates(at(60))["a"], Rates::default());
    }

    #[test]
    fn a_rate_is_of_the_seconds_seen() {
        let start = sekisho_runtime::instant();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = Window::new(Duration::from_secs(10), start);
        for _ in 0..4 {
            window.add("a".into(), at(500), false, 1);
        }
        assert!((window.rates(at(2000))["a"].decisions_per_second - 2.0).abs() < 1e-9);
        // More than are remembered: 200,000 in 2 seconds.
        for count in 0..2 * MOST as u64 {
            window.add("b".into(), at(2000 + count / 100), false, 1);
        }
        let rate = window.rates(at(4000))["b"].decisions_per_second;
        assert!((99_000.0..101_000.0).contains(&rate), "{rate}");
    }
}
