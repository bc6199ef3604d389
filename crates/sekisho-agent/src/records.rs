//! Refusals made on this node, into the spool and on to the server (law L5).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use sekisho_disk::{Sent, SpoolBatch};
use sekisho_events::{CallRefused, NearestEntry, NoIdentity, NodeEvent, RefusalId};
use sekisho_host::Measurement;
use sekisho_identity::{Near, WhyIdentity, why_identity};
use sekisho_net::{Rates, is_permanent, is_unrecorded, on_record, unrecorded_refusal};
use sekisho_proto::server::{RecordRequest, node_client::NodeClient};
use sekisho_runtime::{now, time_ordered_id};
use sekisho_types::UnixTime;
use tonic::Status;

use crate::caller::{Admitted, Caller};
use crate::core::{Core, Known};

/// Records sent in one call.
const BATCH: usize = 512;
/// Characters of what the caller said that a record quotes.
const MAX_TEXT: usize = 500;
/// How long refusals are counted before the count is kept.
const COUNT_FOR: Duration = Duration::from_secs(2);

/// Records that a process got no identity, with what came nearest.
pub(crate) async fn no_identity(core: &Arc<Core>, measured: &Measurement) -> Status {
    let (pid, uid) = (measured.pid, measured.uid);
    let event = |id, at, what| {
        let selectors = measured.selectors.iter().cloned().collect();
        let nearest = core.known(|known| nearest(known, measured));
        NodeEvent::NoIdentity(NoIdentity { id, at, what, pid, uid: Some(uid), selectors, nearest })
    };
    let id = refusal(core, &core.refusals, uid, "no entry matches the process", event).await;
    tracing::info!(pid, refusal = id, "no identity");
    let record = id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
    let said = format!("no identity issued{record}; `sekisho why identity --pid {pid}` says why");
    on_record(Status::permission_denied(said), id.as_deref())
}

fn nearest(known: &Known, measured: &Measurement) -> Option<NearestEntry> {
    let entries = known.entries.values().map(AsRef::as_ref);
    let WhyIdentity::Nearest(Near { entry, differences, .. }) = why_identity(entries, &measured.selectors, now())
    else {
        return None;
    };
    Some(NearestEntry { entry: entry.id.clone(), spiffe_id: entry.spiffe_id.clone(), differences })
}

/// Records what a process was refused, and returns the record's id, if there is one: one user who asks without end fills
/// neither the spool nor what the server keeps, and beyond a rate refusals are counted only.
async fn refusal(
    core: &Arc<Core>,
    rate: &Rates<u32>,
    uid: u32,
    what: &str,
    event: impl FnOnce(RefusalId, UnixTime, String) -> NodeEvent,
) -> Option<String> {
    let at = now();
    if !rate.take(uid, at) {
        if core.unrecorded.fetch_add(1, Ordering::Relaxed) == 0 {
            core.uncounted.notify_one();
        }
        return None;
    }
    let id = RefusalId::new(time_ordered_id(at));
    // It may quote what the caller sent.
    let record = event(id, at, what.chars().take(MAX_TEXT).collect()).encode();
    let spool = core.spool.clone();
    let appended = sekisho_runtime::blocking(move || spool.append(&[record.into()])).await;
    let is_kept = matches!(appended, Ok(Ok(1)));
    if !is_kept {
        tracing::error!(%id, "a refusal was not spooled; it is counted as lost");
    }
    is_kept.then(|| id.to_string())
}

/// Counts refusals that were not recorded one by one, while there are any.
pub(crate) async fn keep_count(core: Arc<Core>) {
    loop {
        core.uncounted.notified().await;
        tokio::time::sleep(COUNT_FOR).await;
        count_unrecorded(&core).await;
    }
}

/// Hands the count of refusals that were not recorded one by one to the spool.
pub(crate) async fn count_unrecorded(core: &Arc<Core>) {
    let count = core.unrecorded.swap(0, Ordering::Relaxed);
    let spool = core.spool.clone();
    if count > 0 && !matches!(sekisho_runtime::blocking(move || spool.count_lost(count)).await, Ok(Ok(()))) {
        tracing::error!(count, "the count of refusals is not on disk yet");
    }
}

/// Records calls that were refused before anything was answered, by whichever layer.
pub(crate) async fn record_refused(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Admitted>().map(Admitted::pid_and_uid);
    let call = request.uri().clone();
    let answer = next.run(request).await;
    match caller.zip(unrecorded_refusal(answer.headers())) {
        Some((caller, refused)) => on_record_of(&core, caller, call.path(), refused).await.into_http(),
        None => answer,
    }
}

/// How a call ended, with its caller's fault on record.
pub(crate) async fn recorded(core: &Arc<Core>, caller: &Caller, call: &str, ended: Status) -> Status {
    on_record_of(core, (caller.process.pid(), caller.uid), call, ended).await
}

async fn on_record_of(core: &Arc<Core>, (pid, uid): (i32, u32), call: &str, ended: Status) -> Status {
    if !is_unrecorded(&ended) {
        return ended;
    }
    let rate = if call.ends_with("/ValidateJWTSVID") { &core.verdicts } else { &core.refusals };
    let shown = call.chars().take(MAX_TEXT).collect::<String>();
    let event =
        |id, at, what| NodeEvent::CallRefused(CallRefused { id, at, what, pid, uid: Some(uid), call: Some(shown) });
    let id = refusal(core, rate, uid, ended.message(), event).await;
    tracing::info!(pid, refusal = id, reason = ended.message(), "refused");
    on_record(ended, id.as_deref())
}

/// Sends what is spooled to the server, permanently.
pub(crate) async fn forward(core: Arc<Core>) {
    let send = |key: String, batch: SpoolBatch| {
        let mut server = NodeClient::new(core.server());
        async move {
            let batch_key = format!("agent/{key}");
            match server.record(RecordRequest { records: batch.records, lost: batch.lost, batch_key }).await {
                Ok(_) => Sent::Taken,
                Err(status) if is_permanent(&status) => Sent::Refused(status.message().to_owned()),
                Err(status) => Sent::Later(status.message().to_owned()),
            }
        }
    };
    core.spool.clone().drain(BATCH, send).await;
}
