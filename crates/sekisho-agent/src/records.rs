//! Refusals made on this node, into the spool and on to the server (law L5).

use std::sync::Arc;
use std::time::Duration;

use sekisho_host::Measurement;
use sekisho_identity::{Entry, WhyIdentity, why_identity};
use sekisho_proto::server::{RecordRequest, node_client::NodeClient};
use sekisho_runtime::{now, random_hex};
use serde_json::json;

use crate::core::Core;

/// Records sent in one call.
const BATCH: usize = 512;

/// Records that a process got no identity, with what came nearest. Returns the record's id.
pub(crate) async fn no_identity(core: &Arc<Core>, measured: &Measurement) -> String {
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
    let id = format!("ref_{}", random_hex(16));
    let record = json!({
        "kind": "refusal",
        "id": id,
        "at_ms": now().millis(),
        "what": "no entry matches the process",
        "pid": measured.pid,
        "selectors": measured.selectors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "nearest": nearest,
    });
    let spool = core.spool.clone();
    let appended = tokio::task::spawn_blocking(move || spool.append(&[record.to_string()])).await;
    if !matches!(appended, Ok(Ok(1))) {
        tracing::error!(id, "a refusal was not spooled; it is counted as lost");
    }
    id
}

/// Sends what is spooled, for ever.
pub(crate) async fn forward(core: Arc<Core>) {
    let (mut pause, mut size) = (Duration::from_millis(200), BATCH);
    loop {
        let batch = core.spool.next_batch(size).await;
        let request = RecordRequest {
            records: batch.records.clone(),
            lost: batch.lost,
            batch_key: format!("agent/{}", core.spool.key(&batch)),
        };
        match NodeClient::new(core.server()).record(request).await {
            Ok(_) => {
                (pause, size) = (Duration::from_millis(200), BATCH);
                if let Err(error) = core.spool.acknowledge(&batch) {
                    tracing::error!(%error, "the spool was not shortened; the batch may be sent again");
                }
            }
            // A batch that the server will never take is narrowed down to the record at fault, which is given up.
            Err(status) if is_permanent(&status) && batch.records.len() > 1 => size = 1,
            Err(status) if is_permanent(&status) => {
                tracing::error!(reason = status.message(), "a record is refused for good; it is counted as lost");
                if let Err(error) = core.spool.discard(&batch) {
                    tracing::error!(%error, "and that could not be written");
                    tokio::time::sleep(pause).await;
                }
            }
            Err(status) => {
                tracing::debug!(code = ?status.code(), reason = status.message(), "records wait for the server");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(15));
            }
        }
    }
}

fn is_permanent(status: &tonic::Status) -> bool {
    matches!(status.code(), tonic::Code::InvalidArgument | tonic::Code::OutOfRange)
}
