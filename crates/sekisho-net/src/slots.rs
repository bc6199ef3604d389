//! Limits on open connections, in total and from one peer: one peer cannot use all of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Connections open at one listener.
pub(crate) const MAX_CONNECTIONS: usize = 65_536;

/// Slots for connections, counted by peer: an address, a process.
pub struct Slots<K: Hash + Eq + Clone> {
    total: usize,
    per_peer: usize,
    open: Mutex<(usize, HashMap<K, usize>)>,
}

impl<K: Hash + Eq + Clone> Slots<K> {
    pub fn new(total: usize, per_peer: usize) -> Arc<Self> {
        Arc::new(Self { total, per_peer, open: Mutex::default() })
    }

    /// A slot for one connection of `peer`, released when dropped; `None` when none is left for it.
    pub fn take(self: &Arc<Self>, peer: K) -> Option<Slot<K>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_peer) = &mut *open;
        let of_peer = by_peer.get(&peer).copied().unwrap_or(0);
        if *all >= self.total || of_peer >= self.per_peer {
            return None;
        }
        *all += 1;
        by_peer.insert(peer.clone(), of_peer + 1);
        Some(Slot { slots: self.clone(), peer })
    }
}

/// The slot of one connection.
pub struct Slot<K: Hash + Eq + Clone> {
    slots: Arc<Slots<K>>,
    peer: K,
}

impl<K: Hash + Eq + Clone> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_peer) = &mut *open;
        *all = all.saturating_sub(1);
        if let Some(count) = by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                by_peer.remove(&self.peer);
            }
        }
    }
}

/// One peer: an IPv4 address, or the 64-bit network of an IPv6 address, because one host can use any number of those.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l9_one_peer_cannot_take_all_places() {
        let slots = Slots::new(3, 2);
        let first = slots.take("a").unwrap();
        let _second = slots.take("a").unwrap();
        assert!(slots.take("a").is_none());
        let _other = slots.take("b").unwrap();
        assert!(slots.take("c").is_none());
        drop(first);
        assert!(slots.take("a").is_some());
    }
}
