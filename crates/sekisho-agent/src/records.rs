//! Refusals of calls, whichever layer refused, and the way of all records to the server (law L5).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use sekisho_disk::{SendOutcome, SpoolBatch};
use sekisho_events::{CallRefused, NearestEntry, NoIdentity, NodeEvent};
use sekisho_host::Measurement;
use sekisho_identity::{Near, WhyIdentity, why_identity};
use sekisho_net::{is_permanent, is_unrecorded, on_record, unrecorded_refusal};
use sekisho_proto::server::{RecordRequest, node_client::NodeClient};
use sekisho_runtime::now;
use tonic::Status;

use crate::caller::{Admitted, Caller};
use crate::core::Core;
use crate::journal::{Kind, quoted};
use crate::refusal::Refusal;
use crate::server_state::ServerState;

/// Records sent in one call.
const BATCH: usize = 512;

/// Records that a process got no identity, with what came nearest.
pub(crate) async fn no_identity(core: &Core, measured: &Measurement) -> Refusal {
    let (pid, uid) = (measured.pid, measured.uid);
    let event = |id, at, what| {
        let selectors = measured.selectors.iter().cloned().collect();
        let nearest = core.server_state.read(|state| nearest(state, measured));
        NodeEvent::NoIdentity(NoIdentity { id, at, what, pid, uid: Some(uid), selectors, nearest })
    };
    let record = core.journal.refused(Kind::Own, uid, "no entry matches the process", event).await;
    tracing::info!(pid, refusal = record, "no identity");
    Refusal::NoIdentity { pid, record }
}

fn nearest(state: &ServerState, measured: &Measurement) -> Option<NearestEntry> {
    let entries = state.entries.values().map(AsRef::as_ref);
    let WhyIdentity::Nearest(Near { entry, differences, .. }) = why_identity(entries, &measured.selectors, now())
    else {
        return None;
    };
    Some(NearestEntry { entry: entry.id.clone(), spiffe_id: entry.spiffe_id.clone(), differences })
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

/// The status of a call, with its caller's fault on record.
pub(crate) async fn recorded(core: &Core, caller: &Caller, call: &str, ended: Status) -> Status {
    on_record_of(core, (caller.process.pid(), caller.uid), call, ended).await
}

async fn on_record_of(core: &Core, (pid, uid): (i32, u32), call: &str, ended: Status) -> Status {
    if !is_unrecorded(&ended) {
        return ended;
    }
    let kind = if call.ends_with("/ValidateJWTSVID") { Kind::Verdict } else { Kind::Own };
    let call = Some(quoted(call));
    let event = |id, at, what| NodeEvent::CallRefused(CallRefused { id, at, what, pid, uid: Some(uid), call });
    let id = core.journal.refused(kind, uid, ended.message(), event).await;
    tracing::info!(pid, refusal = id, reason = ended.message(), "refused");
    on_record(ended, id.as_deref())
}

/// Sends what is spooled to the server, permanently.
pub(crate) async fn forward(core: Arc<Core>) {
    let send = |key: String, batch: SpoolBatch| {
        let mut server = NodeClient::new(core.upstream.channel());
        async move {
            let batch_key = format!("agent/{key}");
            match server.record(RecordRequest { records: batch.records, lost: batch.lost, batch_key }).await {
                Ok(_) => SendOutcome::Taken,
                Err(status) if is_permanent(&status) => SendOutcome::Refused(status.message().to_owned()),
                Err(status) => SendOutcome::Later(status.message().to_owned()),
            }
        }
    };
    core.journal.spool.clone().drain(BATCH, send).await;
}
