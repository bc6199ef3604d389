//! Rates per peer address: a flood from one does not keep others out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use sekisho_net::network_of;
use sekisho_types::UnixTime;

const MAX_PEERS: usize = 65_536;

/// A bucket per address that refills by `per_second` up to `burst`. Of IPv6 the network of 64 bits counts, since one
/// host has as many addresses as it likes.
pub(crate) struct PeerLimits {
    per_second: f64,
    burst: f64,
    buckets: Mutex<BTreeMap<IpAddr, (f64, UnixTime)>>,
}

impl PeerLimits {
    pub(crate) const fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::new(BTreeMap::new()) }
    }

    /// Takes one from the peer's bucket; false when it is empty, or when too many peers came lately.
    pub(crate) fn take(&self, peer: IpAddr, now: UnixTime) -> bool {
        let peer = network_of(peer);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_PEERS && !buckets.contains_key(&peer) {
            let refilled = (self.burst / self.per_second) as i64;
            buckets.retain(|_, (_, at)| now.seconds_since(*at) < refilled);
            if buckets.len() >= MAX_PEERS {
                // Half of what is there goes, so that a flood pays for this walk once in many calls.
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
        let taken = level >= 1.0;
        buckets.insert(peer, (if taken { level - 1.0 } else { level }, now));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l9_a_flood_of_addresses_is_bounded_and_one_network_is_one_peer() {
        let limits = PeerLimits::new(1.0, 2.0);
        let now = UnixTime::from_seconds(1_800_000_000);
        let of = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]);
        assert!(limits.take(of(1), now) && limits.take(of(2), now) && !limits.take(of(3), now));
        for number in 0..200_000u32 {
            limits.take(IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(limits.buckets.lock().unwrap().len() <= MAX_PEERS);
    }
}
