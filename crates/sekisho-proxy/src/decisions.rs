//! Decisions: made in process, spooled in groups, sent to the agent. A denial is on disk before the peer hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sekisho_disk::{Sent, Spool, SpoolBatch};
use sekisho_events::{Decided, DecisionId, NodeEvent, PeerRefused, RefusalId};
use sekisho_net::{Rates, Tally, is_permanent};
use sekisho_policy::{Decision, Recorded, RequestInput};
use sekisho_proto::node::sidecar_client::SidecarClient;
use sekisho_proto::server::RecordRequest;
use sekisho_runtime::{instant, now, time_ordered_id};
use sekisho_sdk::{AgentChannel, Held};
use sekisho_types::{Effect, UnixTime};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::policy::{InForce, PolicyKeeper};
use crate::quiet::Quiet;
use crate::trace::Trace;

/// Records between the connections and the disk; beyond it an allow is counted as lost, a denial waits.
const QUEUE: usize = 8192;
const BATCH: usize = 2048;
const APPEND_BYTES: usize = 4 * 1024 * 1024;
/// Allows wait this long for others, so that one fsync serves many; a denial that comes meanwhile waits no longer.
const SETTLE: Duration = Duration::from_millis(5);

/// A decision on its way to the disk: written out by the writer, not by the request.
struct Made {
    id: DecisionId,
    trace: Trace,
    request: Arc<RequestInput>,
    at: UnixTime,
    in_force: Option<Arc<InForce>>,
    decision: Decision,
    latency_micros: u64,
}

enum Record {
    Decision(Box<Made>),
    Refusal(NodeEvent),
}

type Queued = (Record, Option<oneshot::Sender<()>>);

pub(crate) struct Decider {
    policy: Arc<PolicyKeeper>,
    /// Whom this sidecar speaks for, which its records say.
    held: watch::Receiver<Option<Held>>,
    queue: mpsc::Sender<Queued>,
    /// Allows that found the queue full, for the writer to count.
    dropped: Arc<AtomicU64>,
    /// By what was refused.
    refusals: Rates<&'static str>,
    /// Those that came no further than the handshake.
    strangers: Tally,
    strangers_came: Notify,
    quiet: Quiet,
}

/// What a decision came to, for the one who asked.
pub(crate) struct Outcome {
    pub id: DecisionId,
    pub effect: Effect,
}

impl Decider {
    pub(crate) fn new(policy: Arc<PolicyKeeper>, spool: Spool, held: watch::Receiver<Option<Held>>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        sekisho_runtime::blocking(move || write(&spool, waiting, &counted));
        Self {
            policy,
            held,
            queue,
            dropped,
            refusals: Rates::new(100.0, 1000.0),
            strangers: Tally::new(),
            strangers_came: Notify::new(),
            quiet: Quiet::default(),
        }
    }

    /// The identity in force.
    pub(crate) const fn held(&self) -> &watch::Receiver<Option<Held>> {
        &self.held
    }

    pub(crate) fn policy(&self) -> &Arc<PolicyKeeper> {
        &self.policy
    }

    /// Decides and records. Without a policy everything is denied.
    pub(crate) async fn decide(&self, request: Arc<RequestInput>, trace: Trace) -> Outcome {
        let (started, at) = (instant(), now());
        let in_force = self.policy.current();
        let decision = match &in_force {
            Some(policy) => policy.set.decide(&request, at),
            None => Decision { effect: Effect::Deny, rule: None, error: Some("no policy has arrived yet".into()) },
        };
        let (id, effect) = (DecisionId::new(time_ordered_id(at)), decision.effect);
        if effect == Effect::Deny {
            self.log_denial(&request, &decision, &id);
        }
        let latency_micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let made = Made { id, trace, request, at, in_force, decision, latency_micros };
        let record = Record::Decision(Box::new(made));
        match effect {
            Effect::Allow => {
                if self.queue.try_send((record, None)).is_err() {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%id, "the spool is behind; this record is lost");
                }
            }
            Effect::Deny => {
                let (written, wait) = oneshot::channel();
                // The caller may go away while the queue is full.
                let unsent = CountIfDropped(Some(&self.dropped));
                let queued = self.queue.send((record, Some(written))).await.is_ok();
                if queued {
                    unsent.sent();
                }
                if !queued || wait.await.is_err() {
                    tracing::error!(%id, "a denial could not be spooled");
                }
            }
        }
        Outcome { id, effect }
    }

    /// One line for each peer and rule, and then counts: each denial is in its record.
    fn log_denial(&self, request: &RequestInput, decision: &Decision, id: &DecisionId) {
        let peer = request.subject.spiffe_id.to_string();
        let rule = match (&decision.rule, &decision.error) {
            (_, Some(error)) => error.clone(),
            (Some(rule), None) => rule.place(),
            (None, None) => "no rule allows it".to_owned(),
        };
        if self.quiet.is_first("denied", &peer, &rule, 1) {
            tracing::info!(peer, rule, decision = %id, "denied");
        }
    }

    /// What was counted and not logged yet, at the end.
    pub(crate) fn log_last_counts(&self) {
        self.quiet.log();
    }

    /// Records that something was refused before there was anything to decide. In a flood the queue is full, and what
    /// does not fit is counted as lost.
    pub(crate) fn refuse(&self, what: &'static str, peer: &str, reason: &str) {
        self.record_refusal(what, peer, reason, 1);
    }

    /// Counts a peer of which nothing is known: in one window there is one record for each reason, whatever comes.
    pub(crate) fn refuse_stranger(&self, address: &str, reason: &str) {
        if self.strangers.add(address, reason) {
            self.strangers_came.notify_one();
        }
    }

    /// Records the counts of strangers so far.
    pub(crate) fn record_strangers(&self) {
        for tallied in self.strangers.take() {
            self.record_refusal("handshake", &tallied.first, &tallied.reason, tallied.count);
        }
    }

    /// `count` are refused for one reason, of which `peer` was the first.
    fn record_refusal(&self, what: &'static str, peer: &str, reason: &str, count: u64) {
        if self.quiet.is_first(what, peer, reason, count) {
            tracing::info!(what, peer, reason, count, "refused");
        }
        let Some(own) = self.held.borrow().as_ref().map(|held| held.spiffe_id.clone()) else {
            self.dropped.fetch_add(count, Ordering::Relaxed);
            return;
        };
        let at = now();
        if count == 1 && !self.refusals.take(what, at) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let refused = NodeEvent::PeerRefused(PeerRefused {
            id: RefusalId::new(time_ordered_id(at)),
            at,
            what: what.to_owned(),
            peer: peer.to_owned(),
            // It may quote what the peer sent.
            reason: reason.chars().take(500).collect(),
            count: Some(count),
            destination: own,
        });
        if self.queue.capacity() < QUEUE / 2 || self.queue.try_send((Record::Refusal(refused), None)).is_err() {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Whether the policy would allow this now; for streams that are already open. Not recorded again when it would.
    pub(crate) fn still_allowed(&self, request: &RequestInput) -> bool {
        self.policy.current().is_some_and(|policy| policy.set.decide(request, now()).effect.is_allow())
    }
}

/// Logs how often the same happened, as long as the sidecar runs.
pub(crate) async fn log_counts(decider: Arc<Decider>) {
    decider.quiet.log_counts().await;
}

/// Windows in which strangers are counted: a flood that lasts makes them longer.
const SHORTEST_WINDOW: Duration = Duration::from_secs(5);
const LONGEST_WINDOW: Duration = Duration::from_secs(80);

/// Records the counts of strangers while there are any.
pub(crate) async fn keep_strangers(decider: Arc<Decider>) {
    let mut window = SHORTEST_WINDOW;
    loop {
        decider.strangers_came.notified().await;
        tokio::time::sleep(window).await;
        decider.record_strangers();
        let more = tokio::time::timeout(window, decider.strangers_came.notified()).await.is_ok();
        window = if more { (window * 2).min(LONGEST_WINDOW) } else { SHORTEST_WINDOW };
        if more {
            decider.strangers_came.notify_one();
        }
    }
}

/// Counts a record as lost unless it was handed over.
struct CountIfDropped<'a>(Option<&'a AtomicU64>);

impl CountIfDropped<'_> {
    fn sent(mut self) {
        self.0 = None;
    }
}

impl Drop for CountIfDropped<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0 {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes what waits, in groups behind one fsync.
fn write(spool: &Spool, mut waiting: mpsc::Receiver<Queued>, dropped: &AtomicU64) {
    let mut group = Vec::new();
    while waiting.blocking_recv_many(&mut group, BATCH) > 0 {
        if group.iter().all(|(_, written)| written.is_none()) {
            std::thread::sleep(SETTLE);
            while group.len() < BATCH
                && let Ok(next) = waiting.try_recv()
            {
                group.push(next);
            }
        }
        let mut tell = vec![];
        let records = written_out(group.drain(..).map(|(record, told)| {
            tell.extend(told);
            record
        }));
        for part in parts(&records) {
            if let Err(error) = spool.append(part) {
                tracing::error!(%error, records = part.len(), "records were not spooled; they are counted as lost");
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0
            && let Err(error) = spool.count_lost(lost)
        {
            tracing::error!(%error, lost, "lost records could not be counted on disk");
        }
        for told in tell {
            let _gone = told.send(());
        }
    }
    let lost = dropped.swap(0, Ordering::Relaxed);
    if lost > 0 {
        let _best_effort = spool.count_lost(lost);
    }
}

/// The records in runs that one append takes: peers choose how long they are.
fn parts(records: &[Bytes]) -> impl Iterator<Item = &[Bytes]> {
    let mut bytes = 0;
    records.chunk_by(move |_, next| {
        bytes += next.len();
        let fits = bytes < APPEND_BYTES;
        bytes = if fits { bytes } else { 0 };
        fits
    })
}

/// The records in canonical JSON, side by side in one piece of memory.
fn written_out(records: impl Iterator<Item = Record>) -> Vec<Bytes> {
    let (mut text, mut ends) = (Vec::with_capacity(16 * 1024), vec![]);
    for record in records {
        match record {
            Record::Decision(made) => made.event().encode_into(&mut text),
            Record::Refusal(refused) => refused.encode_into(&mut text),
        }
        ends.push(text.len());
    }
    let text = Bytes::from(text);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, end)| text.slice(start..*end)).collect()
}

impl Made {
    fn event(self) -> NodeEvent {
        let revision = self.in_force.as_ref().map_or(0, |policy| policy.revision);
        let policy = self.in_force.as_ref().map(|policy| &policy.set);
        NodeEvent::Decided(Box::new(Decided {
            id: self.id,
            trace_id: self.trace.trace_id,
            span_id: self.trace.span_id,
            recorded: Recorded::of(&self.request, self.at, self.decision, revision, policy),
            latency_micros: self.latency_micros,
        }))
    }
}

/// Sends what is spooled to the agent, as long as the sidecar runs.
pub(crate) async fn forward(spool: Spool, agent: AgentChannel) {
    let send = |batch_key, batch: SpoolBatch| {
        let mut agent = SidecarClient::new(agent.clone());
        async move {
            match agent.record(RecordRequest { records: batch.records, lost: batch.lost, batch_key }).await {
                Ok(_) => Sent::Taken,
                Err(status) if is_permanent(&status) => Sent::Refused(status.message().to_owned()),
                Err(status) => Sent::Later(status.message().to_owned()),
            }
        }
    };
    spool.drain(BATCH, send).await;
}
