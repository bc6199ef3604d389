//! The way of records: written in groups behind one fsync, and sent to the agent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use tokio::sync::{Notify, oneshot};

use crate::policy::InForce;
use crate::trace::Trace;

/// Records that wait for the disk; beyond it an allow is counted as lost, a denial waits.
const QUEUE: usize = 8192;
/// And their bytes: peers choose how long a record is.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Records sent to the agent at once.
const BATCH: usize = 2048;
const APPEND_BYTES: usize = 4 * 1024 * 1024;
/// Allows wait this long for others, so that one fsync serves many; a denial that comes meanwhile waits no longer.
const SETTLE: Duration = Duration::from_millis(5);

/// A decision to be recorded.
pub(crate) struct MadeDecision {
    pub id: DecisionId,
    pub trace: Trace,
    pub request: Arc<RequestInput>,
    pub at: UnixTime,
    pub in_force: Option<Arc<InForce>>,
    pub decision: Decision,
    pub latency_micros: u64,
}

/// Records that go behind one fsync. They are encoded where they are made, one after the other in one piece of memory:
/// what a request allocates is freed by the thread that serves it, and nothing but text waits.
#[derive(Default)]
struct Group {
    text: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
    /// Notified once the group is durable.
    written: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Queue {
    group: Group,
    /// Bytes in the group before.
    usual_bytes: usize,
    /// The program ends: nothing is added.
    is_closed: bool,
}

impl Queue {
    /// Whether this part of the space is taken.
    const fn is_full(&self, part: usize) -> bool {
        self.group.ends.len() >= QUEUE / part || self.group.text.len() >= QUEUE_BYTES / part
    }

    fn add(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let group = &mut self.group;
        if group.ends.is_empty() {
            group.text.reserve(self.usual_bytes);
        }
        encode(&mut group.text);
        group.ends.push(group.text.len());
    }

    fn take(&mut self) -> Group {
        self.usual_bytes = self.group.text.len();
        std::mem::take(&mut self.group)
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the writer.
    filled: Notify,
    /// Wakes denials that wait for space.
    taken: Notify,
    /// Records that found no place, for the writer to count.
    lost: AtomicU64,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What takes records.
pub(crate) struct Recorder(Arc<Shared>);

/// What writes them; it runs as long as the sidecar.
pub(crate) struct Writer {
    spool: Spool,
    shared: Arc<Shared>,
}

/// Why a record was not added.
enum NotAdded {
    Full,
    Closed,
}

impl Recorder {
    pub(crate) fn to(spool: Spool) -> (Self, Writer) {
        let shared = Arc::<Shared>::default();
        (Self(shared.clone()), Writer { spool, shared })
    }

    /// Takes an allow, for which nothing waits. False if it is lost, which is counted.
    pub(crate) fn allowed(&self, decision: MadeDecision) -> bool {
        let decided = decision.decided();
        let is_taken = self.add(1, &mut None, |out| decided.encode_into(out)).is_ok();
        if !is_taken {
            self.lose(1);
        }
        is_taken
    }

    /// Takes a denial, and returns once it is durable. False if it is not.
    pub(crate) async fn denied(&self, decision: MadeDecision) -> bool {
        let decided = decision.decided();
        let (written, wait) = oneshot::channel();
        let mut written = Some(written);
        // The caller may go away while the queue is full.
        let unsent = CountIfDropped(Some(&self.0.lost));
        loop {
            // Made before the look at the queue, so that no wake-up falls between.
            let taken = self.0.taken.notified();
            match self.add(1, &mut written, |out| decided.encode_into(out)) {
                Ok(()) => break,
                Err(NotAdded::Full) => taken.await,
                Err(NotAdded::Closed) => return false,
            }
        }
        unsent.sent();
        wait.await.is_ok()
    }

    /// Takes a refusal of `count`. In a flood half of the queue is full, and what comes then is counted as lost.
    pub(crate) fn refused(&self, refused: PeerRefused, count: u64) {
        let refused = NodeEvent::PeerRefused(refused);
        if self.add(2, &mut None, |out| refused.encode_into(out)).is_err() {
            self.lose(count);
        }
    }

    pub(crate) fn lose(&self, count: u64) {
        self.0.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns once all is on disk that was taken before. Nothing is taken afterwards.
    pub(crate) async fn finish(&self) {
        let (written, wait) = oneshot::channel();
        {
            let mut queue = self.0.queue();
            if std::mem::replace(&mut queue.is_closed, true) {
                return;
            }
            queue.group.written.push(written);
        }
        self.0.filled.notify_one();
        self.0.taken.notify_waiters();
        let _ended = wait.await;
    }

    /// Adds a record if less than this part of the queue is taken, and who is notified of it.
    fn add(
        &self,
        part: usize,
        written: &mut Option<oneshot::Sender<()>>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), NotAdded> {
        let mut queue = self.0.queue();
        match () {
            () if queue.is_closed => return Err(NotAdded::Closed),
            () if queue.is_full(part) => return Err(NotAdded::Full),
            () => queue.add(encode),
        }
        queue.group.written.extend(written.take());
        drop(queue);
        self.0.filled.notify_one();
        Ok(())
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
    /// Writes what waits, in groups behind one fsync, until the recorder finishes.
    pub(crate) async fn run(self) {
        loop {
            self.shared.filled.notified().await;
            if self.shared.queue().group.written.is_empty() {
                tokio::time::sleep(SETTLE).await;
            }
            let (group, is_last) = {
                let mut queue = self.shared.queue();
                // It was woken for what the group before took along.
                if queue.group.ends.is_empty() && !queue.is_closed {
                    continue;
                }
                (queue.take(), queue.is_closed)
            };
            self.shared.taken.notify_waiters();
            let (spool, shared) = (self.spool.clone(), self.shared.clone());
            if let Err(error) = blocking(move || write(&spool, group, &shared.lost)).await {
                tracing::error!(%error, "a group of records was not written");
            }
            if is_last {
                return;
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.is_closed = true;
        // Denials that wait for it hear that they are not recorded.
        drop(queue.take());
        drop(queue);
        self.shared.taken.notify_waiters();
    }
}

fn write(spool: &Spool, group: Group, lost: &AtomicU64) {
    let Group { text, ends, written } = group;
    for part in parts(&records(text, &ends)) {
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
    for waiting in written {
        let _gone = waiting.send(());
    }
}

/// The records that end at these places of one piece of memory.
fn records(text: Vec<u8>, ends: &[usize]) -> Vec<Bytes> {
    let text = Bytes::from(text);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(|(start, end)| text.slice(start..*end)).collect()
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

impl MadeDecision {
    fn decided(self) -> Decided {
        let revision = self.in_force.as_ref().map_or(0, |policy| policy.revision);
        let policy = self.in_force.as_ref().map(|policy| &policy.set);
        Decided {
            id: self.id,
            trace_id: self.trace.trace_id,
            span_id: self.trace.span_id,
            recorded: Recorded::of(&self.request, self.at, self.decision, revision, policy),
            latency_micros: self.latency_micros,
        }
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

#[cfg(test)]
mod tests {
    use sekisho_policy::SubjectInput;
    use sekisho_types::{Claims, Effect, SpiffeId};

    use super::*;

    fn decision(effect: Effect, path: &str) -> MadeDecision {
        let id = |text| SpiffeId::parse_workload(text).unwrap();
        let at = UnixTime::from_millis(5);
        let (spiffe_id, claims) = (id("spiffe://td/a"), Claims::default());
        let request = RequestInput {
            method: "GET".into(),
            path: vec![path.into()],
            query: String::new(),
            headers: std::collections::BTreeMap::new(),
            subject: Arc::new(SubjectInput { spiffe_id, claims, issued_at: at }),
            destination: id("spiffe://td/b"),
            request_id: "1".into(),
        };
        let decision = Decision { effect, rule: None, error: None };
        let (id, trace) = (DecisionId::new([7; 16]), Trace { trace_id: [8; 16], span_id: [9; 8] });
        MadeDecision { id, trace, request: Arc::new(request), at, in_force: None, decision, latency_micros: 1 }
    }

    fn refusal() -> PeerRefused {
        PeerRefused {
            id: sekisho_events::RefusalId::new([7; 16]),
            at: UnixTime::from_millis(5),
            what: "handshake".into(),
            peer: "a".into(),
            reason: "b".into(),
            count: Some(5),
            destination: SpiffeId::parse_workload("spiffe://td/b").unwrap(),
        }
    }

    #[tokio::test]
    async fn law_l5_a_full_queue_delays_denials_only() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), 64 * 1024 * 1024, "s").unwrap();
        let (recorder, writer) = Recorder::to(spool.clone());
        let recorder = Arc::new(recorder);
        for _ in 0..QUEUE / 2 {
            assert!(recorder.allowed(decision(Effect::Allow, "x")));
        }
        recorder.refused(refusal(), 5);
        for _ in 0..QUEUE / 2 {
            assert!(recorder.allowed(decision(Effect::Allow, "x")));
        }
        assert!(!recorder.allowed(decision(Effect::Allow, "x")));
        let denies = |recorder: Arc<Recorder>| async move { recorder.denied(decision(Effect::Deny, "x")).await };
        let (waits, leaves) = (tokio::spawn(denies(recorder.clone())), tokio::spawn(denies(recorder.clone())));
        tokio::task::yield_now().await;
        leaves.abort();
        assert!(leaves.await.unwrap_err().is_cancelled());
        let writing = tokio::spawn(writer.run());
        assert!(waits.await.unwrap(), "it is durable");
        // Refusals that found half of the queue taken, the allow, and the denial whose caller has left.
        assert_eq!(spool.depth(), (QUEUE as u64 + 1, 5 + 1 + 1));
        recorder.finish().await;
        writing.await.unwrap();
        assert!(!recorder.denied(decision(Effect::Deny, "x")).await);
        assert!(!recorder.allowed(decision(Effect::Allow, "x")));
    }

    #[tokio::test]
    async fn law_l9_long_records_wait_in_bounded_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, writer) = Recorder::to(Spool::open(folder.path(), 1, "s").unwrap());
        let path = "x".repeat(8 * 1024);
        let taken = (0..QUEUE).filter(|_| recorder.allowed(decision(Effect::Allow, &path))).count();
        assert!((900..=QUEUE_BYTES / path.len()).contains(&taken), "{taken}");
        drop(writer);
        assert!(!recorder.denied(decision(Effect::Deny, "x")).await);
    }
}
