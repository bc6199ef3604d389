//! Rates per peer: a flood from one peer does not block others.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sekisho_types::UnixTime;

const MAX_PEERS: usize = 65_536;

/// A bucket for each peer, a network or a user, that refills by `per_second` up to `burst`.
pub struct Rates<K: Ord> {
    per_second: f64,
    burst: f64,
    buckets: Mutex<BTreeMap<K, (f64, UnixTime)>>,
}

impl<K: Ord> Rates<K> {
    pub const fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::new(BTreeMap::new()) }
    }

    /// Takes one from the peer's bucket; false when it is empty, or when too many peers came lately.
    pub fn take(&self, peer: K, now: UnixTime) -> bool {
        self.take_many(peer, 1.0, now)
    }

    /// The same for `amount`, all of it or nothing.
    pub fn take_many(&self, peer: K, amount: f64, now: UnixTime) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_PEERS && !buckets.contains_key(&peer) {
            let refilled = (self.burst / self.per_second) as i64;
            buckets.retain(|_, (_, at)| now.seconds_since(*at) < refilled);
            if buckets.len() >= MAX_PEERS {
                // Half of the peers are dropped, so that a flood pays for this scan once in many calls.
                let mut keep = false;
                buckets.retain(|_, _| {
                    keep = !keep;
                    keep
                });
                return false;
            }
        }
        let (level, at) = buckets.get(&peer).copied().unwrap_or((self.burst, now));
        let elapsed = (now.nanos().saturating_sub(at.nanos())).max(0) as f64 / 1e9;
        let level = (level + elapsed * self.per_second).min(self.burst);
        let taken = level >= amount;
        buckets.insert(peer, (if taken { level - amount } else { level }, now));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l9_a_flood_of_peers_is_bounded() {
        let rates = Rates::new(1.0, 2.0);
        let now = UnixTime::from_seconds(1_800_000_000);
        assert!(rates.take(1u32, now) && rates.take(1, now) && !rates.take(1, now));
        assert!(rates.take(1, now.plus_seconds(1)));
        for peer in 0..200_000 {
            rates.take(peer, now);
        }
        assert!(rates.buckets.lock().unwrap().len() <= MAX_PEERS);
    }
}
