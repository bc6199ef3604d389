//! How long to wait before the next connection: a fleet that lost its server must not come back at one moment.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// Full jitter: a wait anywhere between nothing and a bound, which doubles with each failure.
pub(crate) struct Backoff {
    bound: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { bound: FIRST }
    }
}

impl Backoff {
    /// The next pause; `random` says where it lies below the bound.
    pub(crate) fn pause(&mut self, random: u32) -> Duration {
        let pause = self.bound.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.bound = (self.bound * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_lie_below_a_bound_that_doubles() {
        let mut longest = Backoff::default();
        let bounds: Vec<u128> = (0..8).map(|_| longest.pause(u32::MAX).as_millis()).collect();
        assert_eq!(bounds, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        let mut shortest = Backoff::default();
        assert!((0..8).all(|_| shortest.pause(0).is_zero()));
        // A fleet spreads: each tenth of the bound gets its share.
        let mut counts = [0u32; 10];
        for agent in 0..10_000u32 {
            let mut backoff = Backoff { bound: LONGEST };
            let pause = backoff.pause(agent.wrapping_mul(2_654_435_761));
            counts[(pause.as_millis() / 1001) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
