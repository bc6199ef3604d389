//! Decisions: made in process, spooled in groups, sent to the agent. A denial is on disk before the peer hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sekisho_disk::Spool;
use sekisho_policy::{Decision, DecisionRecord, RequestInput};
use sekisho_proto::node::sidecar_client::SidecarClient;
use sekisho_proto::server::RecordRequest;
use sekisho_runtime::{now, random_hex};
use sekisho_sdk::{AgentChannel, Held};
use sekisho_types::{DecisionId, Effect};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use crate::policy::PolicyKeeper;
use crate::trace::Trace;

/// Records between the connections and the disk; beyond it an allow is counted as lost, a denial waits.
const QUEUE: usize = 8192;
const BATCH: usize = 2048;
/// Records are sent together that come within this time.
const GATHER: Duration = Duration::from_millis(100);
/// Allows wait this long for others, so that one fsync serves many; a denial that comes meanwhile waits no longer.
const SETTLE: Duration = Duration::from_millis(5);

type Queued = (String, Option<oneshot::Sender<()>>);

pub(crate) struct Decider {
    policy: Arc<PolicyKeeper>,
    /// Whom this sidecar speaks for, which its records say.
    held: watch::Receiver<Option<Held>>,
    queue: mpsc::Sender<Queued>,
    /// Allows that found the queue full, for the writer to count.
    dropped: Arc<AtomicU64>,
}

/// What a decision came to, for the one who asked.
pub(crate) struct Made {
    pub id: DecisionId,
    pub effect: Effect,
}

impl Decider {
    pub(crate) fn new(policy: Arc<PolicyKeeper>, spool: Spool, held: watch::Receiver<Option<Held>>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        tokio::task::spawn_blocking(move || write(&spool, waiting, &counted));
        Self { policy, held, queue, dropped }
    }

    pub(crate) fn policy(&self) -> &Arc<PolicyKeeper> {
        &self.policy
    }

    /// Decides and records. Without a policy everything is denied.
    pub(crate) async fn decide(&self, request: &RequestInput, trace: &Trace) -> Option<Made> {
        let (started, at) = (Instant::now(), now());
        let in_force = self.policy.current();
        let decision = match &in_force {
            Some(policy) => policy.set.decide(request, at),
            None => Decision { effect: Effect::Deny, rule: None, error: Some("no policy has arrived yet".into()) },
        };
        let id = DecisionId::parse(&format!("dec_{}", random_hex(16))).ok()?;
        let record = DecisionRecord {
            id: &id,
            trace_id: &trace.trace_id,
            span_id: &trace.span_id,
            request,
            now: at,
            policy_revision: in_force.as_ref().map_or(0, |policy| policy.revision),
            policy_digest: in_force.as_ref().map(|policy| policy.set.digest()),
            decision: &decision,
            latency_micros: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        let text = record.to_json().to_string();
        match decision.effect {
            Effect::Allow => {
                if self.queue.try_send((text, None)).is_err() {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%id, "the spool is behind; this record is lost");
                }
            }
            Effect::Deny => {
                let (written, wait) = oneshot::channel();
                let queued = self.queue.send((text, Some(written))).await.is_ok();
                if !queued || wait.await.is_err() {
                    tracing::error!(%id, "a denial could not be spooled");
                }
            }
        }
        Some(Made { id, effect: decision.effect })
    }

    /// Records that something was refused before there was anything to decide. In a flood the queue is full, and what
    /// does not fit is counted as lost.
    pub(crate) fn refuse(&self, what: &'static str, peer: &str, reason: &str) {
        tracing::info!(what, peer, reason, "refused");
        let Some(own) = self.held.borrow().as_ref().map(|held| held.spiffe_id.to_string()) else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let record = json!({
            "kind": "refusal",
            "id": format!("ref_{}", random_hex(16)),
            "at_ms": now().millis(),
            "what": what,
            "peer": peer,
            "reason": reason,
            "input": {"destination": own},
        });
        if self.queue.capacity() < QUEUE / 2 || self.queue.try_send((record.to_string(), None)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the policy would allow this now; for streams that are already open. Not recorded again when it would.
    pub(crate) fn still_allowed(&self, request: &RequestInput) -> bool {
        self.policy.current().is_some_and(|policy| policy.set.decide(request, now()).effect.is_allow())
    }
}

/// Writes what waits, in groups behind one fsync.
fn write(spool: &Spool, mut waiting: mpsc::Receiver<Queued>, dropped: &AtomicU64) {
    let mut group = Vec::new();
    while waiting.blocking_recv_many(&mut group, BATCH) > 0 {
        if group.iter().all(|(_, told)| told.is_none()) {
            std::thread::sleep(SETTLE);
            while group.len() < BATCH
                && let Ok(next) = waiting.try_recv()
            {
                group.push(next);
            }
        }
        let (records, tell): (Vec<_>, Vec<_>) = group.drain(..).unzip();
        if let Err(error) = spool.append(&records) {
            tracing::error!(%error, records = records.len(), "records were not spooled; they are counted as lost");
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0
            && let Err(error) = spool.count_lost(lost)
        {
            tracing::error!(%error, lost, "lost records could not be counted on disk");
        }
        for told in tell.into_iter().flatten() {
            let _gone = told.send(());
        }
    }
}

/// Sends what is spooled to the agent, for ever.
pub(crate) async fn forward(spool: Spool, agent: AgentChannel) {
    let mut size = BATCH;
    loop {
        let batch = spool.next_batch(size).await;
        let request = RecordRequest { records: batch.records.clone(), lost: batch.lost, batch_key: spool.key(&batch) };
        match SidecarClient::new(agent.clone()).record(request).await {
            Ok(_) => {
                size = BATCH;
                if let Err(error) = spool.acknowledge(&batch) {
                    tracing::error!(%error, "the spool was not shortened; the batch may be sent again");
                }
                if batch.records.len() < BATCH / 2 {
                    tokio::time::sleep(GATHER).await;
                }
            }
            // A batch that will never be taken is narrowed down to the record at fault, which is given up.
            Err(status) if is_permanent(&status) && batch.records.len() > 1 => size = 1,
            Err(status) if is_permanent(&status) => {
                tracing::error!(reason = status.message(), "a record is refused for good; it is counted as lost");
                if let Err(error) = spool.discard(&batch) {
                    tracing::error!(%error, "and that could not be written");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
            Err(status) => {
                tracing::debug!(reason = status.message(), "records wait for the agent");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

fn is_permanent(status: &tonic::Status) -> bool {
    matches!(status.code(), tonic::Code::InvalidArgument | tonic::Code::OutOfRange)
}
