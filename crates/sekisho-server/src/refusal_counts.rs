//! How often peers may be refused before their refusals are counted only, and the counts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sekisho_net::{Rates, Tally, TlsPeer, network_of};
use sekisho_runtime::now;
use tokio::sync::Notify;

/// Agents whose counts are kept apart.
const MAX_AGENTS: usize = 1024;

pub(crate) struct Refusals {
    /// Of peers with an SVID, by its SPIFFE ID.
    known: Rates<String>,
    /// Of peers without one, by network.
    strangers: Rates<IpAddr>,
    /// Of all with an SVID together, and of all without: many are a flood as well, and strangers use up nothing of the
    /// others.
    all_known: Rates<()>,
    all_strangers: Rates<()>,
    /// Who did not come through the handshake.
    pub rejected: Tally,
    pub counted: AtomicU64,
    /// The same of agents, by agent.
    pub counted_of_agents: Mutex<BTreeMap<String, u64>>,
    pub filled: Notify,
}

impl Refusals {
    /// Five a second of one SPIFFE ID or from one network are logged one by one, after a burst of fifty; of all that
    /// have an SVID 200 a second, after 2,000, and of all that have none 20, after 200.
    pub(crate) const fn new() -> Self {
        Self {
            known: Rates::new(5.0, 50.0),
            strangers: Rates::new(5.0, 50.0),
            all_known: Rates::new(200.0, 2000.0),
            all_strangers: Rates::new(20.0, 200.0),
            rejected: Tally::new(),
            counted: AtomicU64::new(0),
            counted_of_agents: Mutex::new(BTreeMap::new()),
            filled: Notify::const_new(),
        }
    }

    pub(crate) fn count(&self, number: u64) {
        if self.counted.fetch_add(number, Ordering::Relaxed) == 0 {
            self.filled.notify_one();
        }
    }

    /// Counts what an agent was refused beyond its budget.
    pub(crate) fn count_of_agent(&self, agent: &str, number: u64) {
        let mut agents = self.counted_of_agents.lock().unwrap_or_else(PoisonError::into_inner);
        if agents.len() >= MAX_AGENTS && !agents.contains_key(agent) {
            return self.count(number);
        }
        *agents.entry(agent.to_owned()).or_insert(0) += number;
        self.filled.notify_one();
    }
}

impl Refusals {
    /// Counts a peer that did not come through the handshake.
    pub(crate) fn rejected(&self, peer: &str, reason: &str) {
        if self.rejected.add(peer, reason) {
            self.filled.notify_one();
        }
    }

    /// Whether one more refusal of this peer is logged by itself.
    pub(crate) fn admits(&self, peer: &TlsPeer) -> bool {
        match &peer.leaf {
            Some(leaf) => self.known.take(leaf.get().spiffe_id.to_string(), now()) && self.all_known.take((), now()),
            None => self.strangers.take(network_of(peer.address.ip()), now()) && self.all_strangers.take((), now()),
        }
    }
}
