//! Refusals of peers: each in the log while they come slowly, and counted in it when they come in floods (law L5).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sekisho_ledger::Kind;
use sekisho_net::{Rates, TlsPeer, network_of};
use sekisho_runtime::now;
use tokio::sync::Notify;

use crate::counters::Counters;
use crate::domain::{Domain, Shared};
use crate::issue;
use crate::journal::{Entry, JournalError};

/// How long refusals are counted before the count is logged.
const COUNT_FOR: Duration = Duration::from_secs(5);

/// Characters of a reason.
const MAX_REASON: usize = 500;

pub(crate) struct Refusals {
    limits: Rates<IpAddr>,
    /// Of all peers together, so that many addresses are a flood as well.
    all: Rates<()>,
    counted: AtomicU64,
    filled: Notify,
}

impl Refusals {
    /// Five a second from one address are logged one by one, after a burst of fifty; 200 a second from all, after 2,000.
    pub(crate) const fn new() -> Self {
        Self {
            limits: Rates::new(5.0, 50.0),
            all: Rates::new(200.0, 2000.0),
            counted: AtomicU64::new(0),
            filled: Notify::const_new(),
        }
    }
}

/// Logs that something was refused to a peer, or counts it. `who` is what is known of the peer.
pub(crate) async fn log(domain: &Domain, address: IpAddr, who: &str, reason: &str) -> Result<(), JournalError> {
    let refusals = &domain.refusals;
    // It may quote what the peer sent.
    let reason = &reason.chars().take(MAX_REASON).collect::<String>();
    if refusals.limits.take(network_of(address), now()) && refusals.all.take((), now()) {
        tracing::info!(peer = who, reason, "refused");
        issue::refused(domain, who, reason).await.map(|_| ())
    } else {
        Counters::count(&domain.counters.refusals, 1);
        if refusals.counted.fetch_add(1, Ordering::Relaxed) == 0 {
            refusals.filled.notify_one();
        }
        Ok(())
    }
}

/// The same for the peer of a TLS connection.
pub(crate) async fn log_peer(domain: &Domain, peer: &Arc<TlsPeer>, reason: &str) -> Result<(), JournalError> {
    let id = peer.leaf.as_ref().map(|leaf| leaf.get().spiffe_id.to_string());
    log(domain, peer.address.ip(), &id.unwrap_or_else(|| peer.address.to_string()), reason).await
}

/// Logs how many refusals were not logged one by one, while there are any.
pub(crate) async fn keep_count(domain: Shared) {
    loop {
        domain.refusals.filled.notified().await;
        tokio::time::sleep(COUNT_FOR).await;
        log_count(&domain).await;
    }
}

/// Logs the count so far; what cannot be logged stays counted.
pub(crate) async fn log_count(domain: &Domain) {
    let count = domain.refusals.counted.swap(0, Ordering::Relaxed);
    if count > 0 {
        let gap = Entry::new(domain, Kind::Gap)
            .text("what", "refusals")
            .integer("lost", i64::try_from(count).unwrap_or(i64::MAX));
        if let Err(error) = gap.append(domain).await {
            tracing::error!(%error, count, "the count of refusals waits for the log");
            domain.refusals.counted.fetch_add(count, Ordering::Relaxed);
            domain.refusals.filled.notify_one();
        }
    }
}
