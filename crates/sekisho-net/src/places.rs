//! How many connections are open, in all and from one peer: one peer cannot take all the room.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Connections open at one listener.
pub(crate) const MAX_CONNECTIONS: usize = 65_536;

/// Room for connections, counted by peer: an address, a process.
pub struct Places<K: Hash + Eq + Clone> {
    total: usize,
    per_peer: usize,
    open: Mutex<(usize, HashMap<K, usize>)>,
}

impl<K: Hash + Eq + Clone> Places<K> {
    pub fn new(total: usize, per_peer: usize) -> Arc<Self> {
        Arc::new(Self { total, per_peer, open: Mutex::default() })
    }

    /// A place for one connection of `peer`, given back when dropped; `None` when there is none left for it.
    pub fn take(self: &Arc<Self>, peer: K) -> Option<Place<K>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_peer) = &mut *open;
        let of_peer = by_peer.get(&peer).copied().unwrap_or(0);
        if *all >= self.total || of_peer >= self.per_peer {
            return None;
        }
        *all += 1;
        by_peer.insert(peer.clone(), of_peer + 1);
        Some(Place { places: self.clone(), peer })
    }
}

/// One connection's place.
pub struct Place<K: Hash + Eq + Clone> {
    places: Arc<Places<K>>,
    peer: K,
}

impl<K: Hash + Eq + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut open = self.places.open.lock().unwrap_or_else(PoisonError::into_inner);
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

/// What counts as one peer: an IPv4 address, or the network of 64 bits of an IPv6 one, since one host has as many of those
/// as it likes.
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
        let places = Places::new(3, 2);
        let first = places.take("a").unwrap();
        let _second = places.take("a").unwrap();
        assert!(places.take("a").is_none());
        let _other = places.take("b").unwrap();
        assert!(places.take("c").is_none());
        drop(first);
        assert!(places.take("a").is_some());
    }
}
