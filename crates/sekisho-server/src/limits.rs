//! Rates per peer address: a flood from one does not keep others out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use sekisho_types::UnixTime;

const MAX_PEERS: usize = 65_536;

/// A bucket per address that refills by `per_second` up to `burst`.
pub(crate) struct PeerLimits {
    per_second: f64,
    burst: f64,
    buckets: Mutex<BTreeMap<IpAddr, (f64, UnixTime)>>,
}

impl PeerLimits {
    pub(crate) const fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::new(BTreeMap::new()) }
    }

    /// Takes one from the peer's bucket; false when it is empty.
    pub(crate) fn take(&self, peer: IpAddr, now: UnixTime) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_PEERS {
            buckets.retain(|_, (_, at)| now.seconds_since(*at) < 60);
        }
        let (level, at) = buckets.get(&peer).copied().unwrap_or((self.burst, now));
        let elapsed = (now.nanos().saturating_sub(at.nanos())).max(0) as f64 / 1e9;
        let level = (level + elapsed * self.per_second).min(self.burst);
        let taken = level >= 1.0;
        buckets.insert(peer, (if taken { level - 1.0 } else { level }, now));
        taken
    }
}
