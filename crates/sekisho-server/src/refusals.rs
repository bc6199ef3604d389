//! Puts the counts of refusals that have no leaf of their own into the log (law L5).

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_events::{HandshakesRefused, RefusalId, RefusalsCounted};
use sekisho_net::Tallied;

use crate::domain::{Domain, Shared};
use crate::journal::personal;

/// How long refusals are counted before the count is logged.
const COUNT_FOR: Duration = Duration::from_secs(5);

/// Logs how many refusals were not logged one by one, while there are any.
pub(crate) async fn run_refusal_count(domain: Shared) {
    loop {
        domain.limits.refusals.filled.notified().await;
        tokio::time::sleep(COUNT_FOR).await;
        log_count(&domain).await;
    }
}

/// Logs the counts so far; what cannot be logged stays counted.
pub(crate) async fn log_count(domain: &Domain) {
    let refusals = &domain.limits.refusals;
    let count = refusals.counted.swap(0, Ordering::Relaxed);
    if count > 0
        && let Err(error) = domain.journal().append(counted(count, None)).await
    {
        tracing::error!(%error, count, "the count of refusals waits for the log");
        refusals.count(count);
    }
    for tallied in refusals.rejected.take() {
        tracing::info!(peer = tallied.first, reason = tallied.reason, count = tallied.count, "rejected");
        if let Err(error) = domain.journal().append(handshakes(domain, &tallied)).await {
            tracing::error!(%error, tallied.count, "the count of refused handshakes waits for the log");
            refusals.count(tallied.count);
        }
    }
    let agents = std::mem::take(&mut *refusals.counted_of_agents.lock().unwrap_or_else(PoisonError::into_inner));
    for (agent, count) in agents {
        tracing::warn!(
            agent,
            count,
            "the agent had more refusals than its budget; the rest are counted, not logged \
            one by one"
        );
        if let Err(error) = domain.journal().append(counted(count, Some(&agent))).await {
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
        id: RefusalId::new(domain.log.new_id()),
        reason: personal(tallied.reason.clone()),
    }
}

fn counted(count: u64, caller: Option<&str>) -> RefusalsCounted {
    RefusalsCounted { caller: caller.map(|caller| personal(caller.to_owned())), lost: count }
}
