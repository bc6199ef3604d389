//! Refusals of peers: each in the log while they come slowly, and counted in it when they come in floods (law L5).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sekisho_events::{HandshakesRefused, RefusalId, RefusalsCounted};
use sekisho_net::{Rates, Tallied, Tally, TlsPeer, network_of};
use sekisho_runtime::now;
use tokio::sync::Notify;

use crate::counters::Counters;
use crate::domain::{Domain, Shared};
use crate::issue;
use crate::journal::{self, JournalError, personal};
use crate::refusal::Recorded;

/// How long refusals are counted before the count is logged.
const COUNT_FOR: Duration = Duration::from_secs(5);

/// Agents whose counts are kept apart.
const MAX_AGENTS: usize = 1024;

/// Characters of a reason.
const MAX_REASON: usize = 500;

pub(crate) struct Refusals {
    /// Of peers with an SVID, by its SPIFFE ID.
    known: Rates<String>,
    /// Of peers without one, by network.
    strangers: Rates<IpAddr>,
    /// Of all with an SVID together, and of all without: many are a flood as well, and strangers use up nothing of the others.
    all_known: Rates<()>,
    all_strangers: Rates<()>,
    /// Who did not come through the handshake.
    turned_away: Tally,
    counted: AtomicU64,
    /// The same of agents, by agent.
    counted_of_agents: Mutex<BTreeMap<String, u64>>,
    filled: Notify,
}

impl Refusals {
    /// Five a second of one SPIFFE ID or from one network are logged one by one, after a burst of fifty; of all that have an
    /// SVID 200 a second, after 2,000, and of all that have none 20, after 200.
    pub(crate) const fn new() -> Self {
        Self {
            known: Rates::new(5.0, 50.0),
            strangers: Rates::new(5.0, 50.0),
            all_known: Rates::new(200.0, 2000.0),
            all_strangers: Rates::new(20.0, 200.0),
            turned_away: Tally::new(),
            counted: AtomicU64::new(0),
            counted_of_agents: Mutex::new(BTreeMap::new()),
            filled: Notify::const_new(),
        }
    }

    fn count(&self, number: u64) {
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
    pub(crate) fn turned_away(&self, peer: &str, reason: &str) {
        if self.turned_away.add(peer, reason) {
            self.filled.notify_one();
        }
    }

    /// Whether one more refusal of this peer is logged by itself.
    fn admits(&self, peer: &TlsPeer) -> bool {
        match &peer.leaf {
            Some(leaf) => self.known.take(leaf.get().spiffe_id.to_string(), now()) && self.all_known.take((), now()),
            None => self.strangers.take(network_of(peer.address.ip()), now()) && self.all_strangers.take((), now()),
        }
    }
}

/// Logs that something was refused to the peer of a TLS connection, or counts it.
pub(crate) async fn log_peer(domain: &Domain, peer: &Arc<TlsPeer>, reason: &str) -> Result<Recorded, JournalError> {
    let id = peer.leaf.as_ref().map(|leaf| leaf.get().spiffe_id.to_string());
    let who = &id.unwrap_or_else(|| peer.address.to_string());
    let refusals = &domain.refusals;
    // It may quote what the peer sent.
    let reason = &reason.chars().take(MAX_REASON).collect::<String>();
    if refusals.admits(peer) {
        tracing::info!(peer = who, reason, "refused");
        issue::refusal_leaf(domain, who, reason).await.map(Recorded::by_leaf)
    } else {
        Counters::count(&domain.counters.refusals, 1);
        refusals.count(1);
        Ok(Recorded::in_count())
    }
}

/// Logs how many refusals were not logged one by one, while there are any.
pub(crate) async fn keep_count(domain: Shared) {
    loop {
        domain.refusals.filled.notified().await;
        tokio::time::sleep(COUNT_FOR).await;
        log_count(&domain).await;
    }
}

/// Logs the counts so far; what cannot be logged stays counted.
pub(crate) async fn log_count(domain: &Domain) {
    let refusals = &domain.refusals;
    let count = refusals.counted.swap(0, Ordering::Relaxed);
    if count > 0
        && let Err(error) = journal::append(domain, counted(count, None)).await
    {
        tracing::error!(%error, count, "the count of refusals waits for the log");
        refusals.count(count);
    }
    for tallied in refusals.turned_away.take() {
        Counters::count(&domain.counters.refusals, tallied.count);
        tracing::info!(peer = tallied.first, reason = tallied.reason, count = tallied.count, "turned away");
        if let Err(error) = journal::append(domain, handshakes(domain, &tallied)).await {
            tracing::error!(%error, tallied.count, "peers that were turned away are not in the log");
            refusals.count(tallied.count);
        }
    }
    let agents = std::mem::take(&mut *refusals.counted_of_agents.lock().unwrap_or_else(PoisonError::into_inner));
    for (agent, count) in agents {
        tracing::warn!(agent, count, "refused beyond the agent's budget; counted only");
        if let Err(error) = journal::append(domain, counted(count, Some(&agent))).await {
            tracing::error!(%error, count, "the count of an agent's refusals waits for the log");
            refusals.count_of_agent(&agent, count);
        }
    }
}

/// One leaf for all that came for one reason in one window.
fn handshakes(domain: &Domain, tallied: &Tallied) -> HandshakesRefused {
    HandshakesRefused {
        caller: personal(tallied.first.clone()),
        count: tallied.count,
        id: RefusalId::new(domain.new_log_id()),
        reason: personal(tallied.reason.clone()),
    }
}

fn counted(count: u64, caller: Option<&str>) -> RefusalsCounted {
    RefusalsCounted { caller: caller.map(|caller| personal(caller.to_owned())), lost: count }
}
