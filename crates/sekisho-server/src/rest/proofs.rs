use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_api::{ConsistencyForm, LogForm};
use sekisho_events::{Event, Leaf, Receipt, RecordId, Subject, openings_of};
use sekisho_ledger::{BatchPath, leaf_hash, verify_inclusion};

use super::problem::Refused;
use crate::domain::{Domain, Shared};
use crate::log_search;
use crate::record::id_of;

/// How long a request waits for the next checkpoint, which follows an entry within 100 ms.
const NEXT_CHECKPOINT: Duration = Duration::from_millis(300);

#[cfg_attr(test, utoipa::path(get, path = "/v1/log", responses((status = 200, body = LogForm))))]
pub(super) async fn log(State(domain): State<Shared>) -> Json<LogForm> {
    let key = domain.log.ledger.verifier();
    Json(LogForm {
        checkpoint: domain.log.ledger.checkpoint().to_string(),
        cosigned: domain.cosigned().map(|(_, note)| note.to_string()),
        verifier_key: key.to_owned(),
        trust_policy: format!("log {key}\nquorum none\n"),
    })
}

/// What shows that the log of one size is the beginning of the log of another.
#[cfg_attr(test, utoipa::path(get, path = "/v1/log/consistency/{old_size}/{new_size}", responses(
    (status = 200, body = ConsistencyForm), (status = 400, body = sekisho_api::Problem))))]
pub(super) async fn consistency(
    State(domain): State<Shared>,
    Path((old_size, new_size)): Path<(u64, u64)>,
) -> Result<Json<ConsistencyForm>, Refused> {
    let size = domain.log.ledger.size();
    if old_size == 0 || old_size > new_size || new_size > size {
        return Err(Refused::invalid(format!("the two sizes must ascend from at least 1 to at most {size}")));
    }
    let path = sekisho_runtime::blocking(move || domain.log.ledger.consistency_path(old_size, new_size)).await;
    let path = path.map_err(|e| Refused::unavailable(&e))?.map_err(|e| Refused::unavailable(&e))?;
    Ok(Json(ConsistencyForm { old_size, new_size, path: path.iter().map(|hash| BASE64.encode(hash)).collect() }))
}

/// A proof file for an attestation (`att_…`), an issuance (`iss_…`), a decision (`dec_…`) or any leaf by its index.
#[cfg_attr(test, utoipa::path(get, path = "/v1/proofs/{id}", responses(
    (status = 200, body = String, content_type = "text/plain", description = "c2sp.org/tlog-proof@v1"),
     (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn prove(State(domain): State<Shared>, Path(id): Path<String>) -> Result<String, Refused> {
    let search = || {
        let (domain, id) = (domain.clone(), id.clone());
        sekisho_runtime::blocking(move || find(&domain, &id))
    };
    let mut found = search().await.map_err(|e| Refused::unavailable(&e))?;
    if found.is_err() {
        // What was logged a moment ago is published with the next checkpoint, if there is one.
        let next = domain.log.ledger.checkpoint_covering(domain.log.ledger.size());
        if tokio::time::timeout(NEXT_CHECKPOINT, next).await.is_ok() {
            found = search().await.map_err(|e| Refused::unavailable(&e))?;
        }
    }
    let (index, record) = found?;
    let (size, checkpoint) = match domain.cosigned().filter(|(size, _)| *size > index) {
        Some(cosigned) => cosigned,
        None => covering(&domain, &id, index).await?,
    };
    let receipt = sekisho_runtime::blocking(move || receipt(&domain, index, size, checkpoint.to_string(), record));
    Ok(receipt.await.map_err(|e| Refused::unavailable(&e))??.to_string())
}

/// A checkpoint that covers the entry. It follows an entry within 100 ms; that of an entry which this log does not have
/// never comes.
async fn covering(domain: &Domain, id: &str, index: u64) -> Result<(u64, Arc<str>), Refused> {
    let covering = domain.log.ledger.checkpoint_covering(index);
    match tokio::time::timeout(NEXT_CHECKPOINT * 10, covering).await {
        Ok(found) => found.map_err(|e| Refused::unavailable(&e)),
        Err(_) => Err(Refused::not_found(format!(
            "`{id}` cites entry {index}, which this log does not have: an older copy of it was restored"
        ))),
    }
}

type Found = (u64, Option<(String, BatchPath)>);

fn find(domain: &Domain, id: &str) -> Result<Found, Refused> {
    let missing = || {
        Refused::not_found(format!(
            "nothing in the log goes by `{id}`; see `sekisho decision list` and `sekisho svid list`"
        ))
    };
    if let Ok(index) = id.parse::<u64>() {
        return if index < domain.log.ledger.size() { Ok((index, None)) } else { Err(missing()) };
    }
    let made_on_a_node =
        RecordId::parse(id).and_then(|id| domain.log.decisions.find(id.key(), |kept| id_of(kept) == id));
    if let Some((found, place)) = made_on_a_node {
        let record = String::from_utf8_lossy(&found.kept.record).into_owned();
        return Ok((found.log_index, Some((record, place))));
    }
    log_search::find(&domain.log.ledger, id).map(|index| (index, None)).ok_or_else(missing)
}

fn receipt(
    domain: &Domain,
    index: u64,
    size: u64,
    checkpoint: String,
    record: Option<(String, BatchPath)>,
) -> Result<Receipt, Refused> {
    let entry = domain
        .log
        .ledger
        .entry(index, size)
        .ok_or_else(|| Refused::unavailable(&"an entry of the log is not readable"))?;
    let path = domain.log.ledger.path(index, size).map_err(|e| Refused::unavailable(&e))?;
    // What is read may have been changed on disk: a proof that does not hold is not given out.
    let root =
        domain.log.ledger.root(size).ok_or_else(|| Refused::unavailable(&"a tile of the log is not readable"))?;
    verify_inclusion(index, size, &leaf_hash(&entry.leaf), &path, &root).map_err(|_| {
        let found =
            format!("entry {index} of the log, or a tile above it, is damaged on disk; restore the log from a backup");
        tracing::error!(index, "the log is damaged");
        Refused::unavailable(&found)
    })?;
    if let Some((record, place)) = &record {
        let root = match Leaf::decode(&entry.leaf).map(|leaf| leaf.event) {
            Ok(Event::DecisionsRecorded(recorded)) => Some(recorded.root),
            _ => None,
        };
        if root.is_none_or(|root| place.verify(record.as_bytes(), root.as_bytes()).is_err()) {
            tracing::error!(index, "a record is not under the leaf that its segment names");
            return Err(Refused::unavailable(&"a segment of decisions is damaged"));
        }
    }
    let subject = match record {
        Some((record, place)) => Subject::Record { record, place },
        None => Subject::Leaf { openings: openings_of(&entry.side).unwrap_or_default() },
    };
    Ok(Receipt { leaf: entry.leaf, subject, index, path, checkpoint })
}
