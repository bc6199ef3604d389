//! How far the clock is trusted when something would be deleted by it (decisions/0012, 0021).
//!
//! A clock that starts days ahead may be right, after a long stop, or wrong, on a machine without a battery: nothing
//! tells the two apart at once. So the trusted time follows the clock in both directions, by a day for each hour that
//! the server runs. What is only created goes by the clock itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sekisho_runtime::instant;
use sekisho_types::UnixTime;
use tokio::time::Instant;

/// Seconds of the clock that are trusted for each second that the server runs.
const CATCH_UP: u32 = 24;
/// A clock that is further ahead is reported.
const REPORTED_SECONDS: i64 = 24 * 3600;

pub(crate) struct TrustedTime(Mutex<(UnixTime, Instant)>);

impl TrustedTime {
    /// Begins where the last run had come, as far as that is on disk.
    pub(crate) fn new(durable: Option<UnixTime>, clock: UnixTime) -> Self {
        Self(Mutex::new((durable.unwrap_or(clock), instant())))
    }

    /// The trusted time while the clock shows `clock`. It is later than the clock if the clock was set back.
    pub(crate) fn time(&self, clock: UnixTime) -> UnixTime {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = instant();
        *last = (followed(last.0, clock, now.duration_since(last.1)), now);
        last.0
    }

    /// By how many seconds the clock is ahead of the trusted time, if that has to be reported.
    pub(crate) fn ahead(&self, clock: UnixTime) -> Option<i64> {
        Some(clock.seconds_since(self.time(clock))).filter(|ahead| *ahead > REPORTED_SECONDS)
    }
}

fn followed(last: UnixTime, clock: UnixTime, ran: Duration) -> UnixTime {
    let most = i64::try_from((ran * CATCH_UP).as_nanos()).unwrap_or(i64::MAX);
    let nanos = clock.nanos().clamp(last.nanos().saturating_sub(most), last.nanos().saturating_add(most));
    UnixTime::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn belief_follows_a_clock_slowly() {
        let day = |n: i64| UnixTime::from_seconds(n * 24 * 3600);
        let hour = Duration::from_secs(3600);
        assert_eq!(followed(day(100), day(100).plus_seconds(3600), hour), day(100).plus_seconds(3600));
        assert_eq!(followed(day(100), day(5000), Duration::ZERO), day(100));
        assert_eq!(followed(day(100), day(5000), hour), day(101));
        assert_eq!(followed(day(100), day(0), Duration::ZERO), day(100));
        assert_eq!(followed(day(5000), day(100), hour), day(4999));
        let trusted_time = TrustedTime::new(Some(day(100)), day(102));
        // Less the moments that the test itself runs, each worth twenty-four.
        let ahead = trusted_time.ahead(day(102)).unwrap();
        assert!((2 * 24 * 3600 - 3600..=2 * 24 * 3600).contains(&ahead), "{ahead}");
        assert_eq!(trusted_time.ahead(day(101)), None);
        assert_eq!(TrustedTime::new(None, day(102)).ahead(day(102)), None);
    }
}
