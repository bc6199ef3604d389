//! Refusals made on this node, into the spool and on to the server (law L5).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use sekisho_disk::{Sent, SpoolBatch};
use sekisho_host::Measurement;
use sekisho_identity::{WhyIdentity, why_identity};
use sekisho_net::{is_permanent, is_unrecorded, on_record, unrecorded_refusal};
use sekisho_proto::server::{RecordRequest, node_client::NodeClient};
use sekisho_runtime::{now, record_id};
use serde_json::{Value, json};
use tonic::Status;

use crate::caller::Caller;
use crate::core::{Core, Known};

/// Records sent in one call.
const BATCH: usize = 512;

/// Records that a process got no identity, with what came nearest. Returns the record's id.
pub(crate) async fn no_identity(core: &Arc<Core>, measured: &Measurement) -> String {
    let nearest =
        |known: &Known| match why_identity(known.entries.values().map(AsRef::as_ref), &measured.selectors, now()) {
            WhyIdentity::Nearest { entry, differences, .. } => json!({
                "entry": entry.id.as_str(),
                "spiffe_id": entry.spiffe_id.to_string(),
                "differences": differences.iter().map(|d| json!({
                    "wants": d.wants.to_string(),
                    "found": d.found.iter().map(ToString::to_string).collect::<Vec<_>>(),
                })).collect::<Vec<_>>(),
            }),
            _ => Value::Null,
        };
    let details = || {
        json!({
            "selectors": measured.selectors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "nearest": core.known(nearest),
        })
    };
    refusal(core, (measured.pid, measured.uid), "no entry matches the process", details).await
}

/// Records what a process was refused, and returns the record's id. One user who asks without end fills neither the spool
/// nor what the server keeps: beyond a rate, refusals are counted only.
pub(crate) async fn refusal(
    core: &Arc<Core>,
    (pid, uid): (i32, u32),
    what: &str,
    details: impl FnOnce() -> Value,
) -> String {
    let at = now();
    let id = record_id("ref", at);
    if !core.refusals.take(uid, at) {
        core.unrecorded.fetch_add(1, Ordering::Relaxed);
        return id;
    }
    let mut record = json!({"kind": "refusal", "id": id, "at_ms": at.millis(), "what": what, "pid": pid, "uid": uid});
    if let (Value::Object(record), Value::Object(details)) = (&mut record, details()) {
        record.extend(details);
    }
    let spool = core.spool.clone();
    let appended = tokio::task::spawn_blocking(move || spool.append(&[record.to_string().into()])).await;
    if !matches!(appended, Ok(Ok(1))) {
        tracing::error!(id, "a refusal was not spooled; it is counted as lost");
    }
    count_unrecorded(core).await;
    id
}

/// Hands the count of refusals that were not recorded one by one to the spool; what it cannot take stays counted.
pub(crate) async fn count_unrecorded(core: &Arc<Core>) {
    let count = core.unrecorded.swap(0, Ordering::Relaxed);
    let spool = core.spool.clone();
    if count > 0 && !matches!(tokio::task::spawn_blocking(move || spool.count_lost(count)).await, Ok(Ok(()))) {
        tracing::error!(count, "the count of refusals waits for the disk");
        core.unrecorded.fetch_add(count, Ordering::Relaxed);
    }
}

/// Records calls that were refused before anything was said, whoever refused them.
pub(crate) async fn record_refused(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Arc<Caller>>().cloned();
    let call = request.uri().clone();
    let answer = next.run(request).await;
    match caller.zip(unrecorded_refusal(answer.headers())) {
        Some((caller, refused)) => recorded(&core, &caller, call.path(), refused).await.into_http(),
        None => answer,
    }
}

/// How a call ended, with its caller's fault on record.
pub(crate) async fn recorded(core: &Arc<Core>, caller: &Caller, call: &str, ended: Status) -> Status {
    if !is_unrecorded(&ended) {
        return ended;
    }
    let id = refusal(core, (caller.process.pid(), caller.uid), ended.message(), || json!({"call": call})).await;
    tracing::info!(pid = caller.process.pid(), refusal = id, reason = ended.message(), call, "refused");
    on_record(ended, &id)
}

/// Sends what is spooled to the server, for ever.
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
