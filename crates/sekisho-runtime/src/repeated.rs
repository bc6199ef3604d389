//! Failures that come again and again are logged when they begin, when they change, and then more and more seldom,
//! with their count.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::instant;

const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// One kind of failure.
#[derive(Default)]
pub struct Repeated(Mutex<Option<Failing>>);

struct Failing {
    reason: String,
    /// Since the last line about it.
    unlogged: u64,
    total: u64,
    logged_at: tokio::time::Instant,
    pause: Duration,
}

impl Repeated {
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a failure. If it is to be logged now: how many there were since the last line.
    pub fn failed(&self, reason: &str) -> Option<u64> {
        let now = instant();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_mut().filter(|failing| failing.reason == reason) {
            None => {
                let total = held.take().map_or(0, |failing| failing.total) + 1;
                let reason = reason.to_owned();
                *held = Some(Failing { reason, unlogged: 0, total, logged_at: now, pause: FIRST_PAUSE });
                Some(1)
            }
            Some(failing) => {
                failing.unlogged += 1;
                failing.total += 1;
                if now.duration_since(failing.logged_at) < failing.pause {
                    return None;
                }
                failing.logged_at = now;
                failing.pause = (failing.pause * 2).min(LONGEST_PAUSE);
                Some(std::mem::take(&mut failing.unlogged))
            }
        }
    }

    /// Notes that it is over. How many there were, if any.
    pub fn over(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map(|failing| failing.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_repeated_failure_is_logged_with_a_count() {
        let repeated = Repeated::new();
        assert_eq!(repeated.over(), None);
        assert_eq!(repeated.failed("no agent"), Some(1));
        let mut lines = vec![];
        for _ in 0..100 {
            tokio::time::advance(Duration::from_secs(1)).await;
            lines.extend(repeated.failed("no agent"));
        }
        assert_eq!(lines, [10, 20, 40]);
        assert_eq!(repeated.failed("another reason"), Some(1));
        assert_eq!(repeated.over(), Some(102));
        assert_eq!(repeated.failed("no agent"), Some(1));
    }
}
