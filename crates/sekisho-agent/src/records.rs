//! Refusals made on this node, into the spool and on to the server (law L5).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sekisho_disk::{Sent, SpoolBatch};
use sekisho_host::Measurement;
use sekisho_identity::{Entry, WhyIdentity, why_identity};
use sekisho_net::is_permanent;
use sekisho_proto::server::{RecordRequest, node_client::NodeClient};
use sekisho_runtime::{now, record_id};
use serde_json::json;

use crate::core::Core;

/// Records sent in one call.
const BATCH: usize = 512;

/// Records that a process got no identity, with what came nearest. Returns the record's id.
pub(crate) async fn no_identity(core: &Arc<Core>, measured: &Measurement) -> String {
    let at = now();
    let id = record_id("ref", at);
    // One user who asks without end fills neither the spool nor what the server keeps.
    if !core.refusals.take(measured.uid, at) {
        core.unrecorded.fetch_add(1, Ordering::Relaxed);
        return id;
    }
    let entries: Vec<Entry> = core.known(|known| known.entries.values().map(|e| (**e).clone()).collect());
    let nearest = match why_identity(&entries, &measured.selectors, now()) {
        WhyIdentity::Nearest { entry, differences, .. } => json!({
            "entry": entry.id.as_str(),
            "spiffe_id": entry.spiffe_id.to_string(),
            "differences": differences.iter().map(|d| json!({
                "wants": d.wants.to_string(),
                "found": d.found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        }),
        _ => serde_json::Value::Null,
    };
    let record = json!({
        "kind": "refusal",
        "id": id,
        "at_ms": at.millis(),
        "what": "no entry matches the process",
        "pid": measured.pid,
        "selectors": measured.selectors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "nearest": nearest,
    });
    let spool = core.spool.clone();
    let unrecorded = core.unrecorded.swap(0, Ordering::Relaxed);
    let append = move || {
        let kept = spool.append(&[record.to_string().into()])?;
        if unrecorded > 0 { spool.count_lost(unrecorded).map(|()| kept) } else { Ok(kept) }
    };
    let appended = tokio::task::spawn_blocking(append).await;
    if !matches!(appended, Ok(Ok(1))) {
        tracing::error!(id, "a refusal was not spooled; it is counted as lost");
    }
    id
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
