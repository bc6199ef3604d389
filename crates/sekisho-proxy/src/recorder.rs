//! The way of records: written in groups behind one fsync, and sent to the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sekisho_disk::{SendOutcome, Spool, SpoolBatch};
use sekisho_events::{Decided, DecisionId, NodeEvent, PeerRefused};
use sekisho_net::is_permanent;
use sekisho_policy::{Decision, Recorded, RequestInput};
use sekisho_proto::node::sidecar_client::SidecarClient;
use sekisho_proto::server::RecordRequest;
use sekisho_runtime::blocking;
use sekisho_sdk::AgentChannel;
use sekisho_types::UnixTime;
use tokio::sync::{mpsc, oneshot};

use crate::policy::InForce;
use crate::trace::Trace;

/// Records between the connections and the disk; beyond it an allow is counted as lost, a denial waits.
const QUEUE: usize = 8192;
const BATCH: usize = 2048;
const APPEND_BYTES: usize = 4 * 1024 * 1024;
/// Allows wait this long for others, so that one fsync serves many; a denial that comes meanwhile waits no longer.
const SETTLE: Duration = Duration::from_millis(5);

/// A decision that is not on disk yet: the writer encodes it, not the request.
pub(crate) struct PendingDecision {
    pub id: DecisionId,
    pub trace: Trace,
    pub request: Arc<RequestInput>,
    pub at: UnixTime,
    pub in_force: Option<Arc<InForce>>,
    pub decision: Decision,
    pub latency_micros: u64,
}

enum Record {
    Decision(Box<PendingDecision>),
    Refusal(Box<PeerRefused>),
    /// The program ends: nothing comes behind it.
    Last,
}

struct Queued {
    record: Record,
    /// Notified once the record is durable.
    written: Option<oneshot::Sender<()>>,
}

/// What takes records.
pub(crate) struct Recorder {
    queue: mpsc::Sender<Queued>,
    /// Records that found no place, for the writer to count.
    lost: Arc<AtomicU64>,
}

/// What writes them; it runs as long as the sidecar.
pub(crate) struct Writer {
    spool: Spool,
    waiting: mpsc::Receiver<Queued>,
    lost: Arc<AtomicU64>,
}

impl Recorder {
    pub(crate) fn to(spool: Spool) -> (Self, Writer) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        (Self { queue, lost: lost.clone() }, Writer { spool, waiting, lost })
    }

    /// Takes an allow, for which nothing waits. False if it is lost, which is counted.
    pub(crate) fn allowed(&self, decision: PendingDecision) -> bool {
        let queued = Queued { record: Record::Decision(Box::new(decision)), written: None };
        let is_taken = self.queue.try_send(queued).is_ok();
        if !is_taken {
            self.lose(1);
        }
        is_taken
    }

    /// Takes a denial, and returns once it is durable. False if it is not.
    pub(crate) async fn denied(&self, decision: PendingDecision) -> bool {
        let (written, wait) = oneshot::channel();
        // The caller may go away while the queue is full.
        let unsent = CountIfDropped(Some(&self.lost));
        let queued = Queued { record: Record::Decision(Box::new(decision)), written: Some(written) };
        let is_queued = self.queue.send(queued).await.is_ok();
        if is_queued {
            unsent.sent();
        }
        is_queued && wait.await.is_ok()
    }

    /// Takes a refusal of `count`. In a flood the queue is full, and what does not fit is counted as lost.
    pub(crate) fn refused(&self, refused: PeerRefused, count: u64) {
        let queued = Queued { record: Record::Refusal(Box::new(refused)), written: None };
        if self.queue.capacity() < QUEUE / 2 || self.queue.try_send(queued).is_err() {
            self.lose(count);
        }
    }

    pub(crate) fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns once all is on disk that was taken before.
    pub(crate) async fn finish(&self) {
        let (written, wait) = oneshot::channel();
        if self.queue.send(Queued { record: Record::Last, written: Some(written) }).await.is_ok() {
            let _ended = wait.await;
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

impl Writer {
    /// Writes what waits, in groups behind one fsync, until the last.
    pub(crate) async fn run(mut self) {
        let mut group = Vec::new();
        while self.waiting.recv_many(&mut group, BATCH).await > 0 {
            if group.iter().all(|queued| queued.written.is_none()) {
                tokio::time::sleep(SETTLE).await;
                while group.len() < BATCH
                    && let Ok(next) = self.waiting.try_recv()
                {
                    group.push(next);
                }
            }
            let is_last = group.iter().any(|queued| matches!(queued.record, Record::Last));
            let (spool, lost, queued) = (self.spool.clone(), self.lost.clone(), std::mem::take(&mut group));
            if let Err(error) = blocking(move || write(&spool, queued, &lost)).await {
                tracing::error!(%error, "a group of records was not written");
            }
            if is_last {
                self.waiting.close();
            }
        }
    }
}

fn write(spool: &Spool, group: Vec<Queued>, lost: &AtomicU64) {
    let mut wait = vec![];
    let records = written_out(group.into_iter().map(|queued| {
        wait.extend(queued.written);
        queued.record
    }));
    for part in parts(&records) {
        if let Err(error) = spool.append(part) {
            tracing::error!(%error, records = part.len(), "records were not spooled; they are counted as lost");
        }
    }
    let lost = lost.swap(0, Ordering::Relaxed);
    if lost > 0
        && let Err(error) = spool.count_lost(lost)
    {
        tracing::error!(%error, lost, "lost records could not be counted on disk");
    }
    for written in wait {
        let _gone = written.send(());
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
            Record::Decision(decision) => decision.event().encode_into(&mut text),
            Record::Refusal(refused) => NodeEvent::PeerRefused(*refused).encode_into(&mut text),
            Record::Last => continue,
        }
        ends.push(text.len());
    }
    let text = Bytes::from(text);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, end)| text.slice(start..*end)).collect()
}

impl PendingDecision {
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
                Ok(_) => SendOutcome::Taken,
                Err(status) if is_permanent(&status) => SendOutcome::Refused(status.message().to_owned()),
                Err(status) => SendOutcome::Later(status.message().to_owned()),
            }
        }
    };
    spool.drain(BATCH, send).await;
}
