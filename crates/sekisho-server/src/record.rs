//! Decisions and refusals made on nodes: recorded once, as one leaf that holds the root of their batch (law L5).

use sekisho_ledger::{Batch, Kind};
use sekisho_runtime::now;
use sekisho_store::{DecisionRow, StoreError};
use serde_json::{Value, json};

use crate::domain::Domain;
use crate::journal::{Entry, JournalError};

const MAX_RECORDS: usize = 4096;
const MAX_RECORD_BYTES: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a batch has at most {MAX_RECORDS} records of at most {MAX_RECORD_BYTES} bytes")]
    TooLarge,
    #[error("record {0} is not JSON with `id` (`dec_` or `ref_` and 32 digits), `at_ms` and `effect` or `kind`")]
    Form(usize),
    #[error("the batch key is not `spool:position`")]
    Key,
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Records a batch of `reporter`. Returns the leaf's index; a repeated batch gets the index that it had.
pub(crate) async fn batch(
    domain: &Domain,
    reporter: &str,
    key: &str,
    records: Vec<String>,
    lost: u64,
) -> Result<u64, RecordError> {
    if records.len() > MAX_RECORDS || records.iter().any(|record| record.len() > MAX_RECORD_BYTES) {
        return Err(RecordError::TooLarge);
    }
    let (spool, first) = key.rsplit_once(':').ok_or(RecordError::Key)?;
    let first: u64 = first.parse().map_err(|_| RecordError::Key)?;
    // The reporter is part of the name, so that one node cannot move another's position.
    let spool = format!("{reporter} {spool}");
    let _turn = domain.recording.lock().await;
    let position: Result<(u64, u64), StoreError> = {
        let spool = spool.clone();
        domain.store.write(&domain.name, move |batch| batch.spool_position(&spool)).await
    };
    let (expected, last_index) = position?;
    let skip = usize::try_from(expected.saturating_sub(first)).unwrap_or(usize::MAX);
    let fresh: Vec<String> = records.into_iter().skip(skip).collect();
    if lost > 0 {
        let leaf = Entry::new(domain, Kind::Gap).integer("lost", i64::try_from(lost).unwrap_or(i64::MAX));
        leaf.personal("reporter", reporter).append(domain).await?;
    }
    if fresh.is_empty() {
        return Ok(last_index);
    }
    let next = expected.max(first) + fresh.len() as u64;
    let tree = Batch::of(fresh.iter().map(|record| record.as_bytes()));
    let count = i64::try_from(fresh.len()).unwrap_or(i64::MAX);
    let rows = rows(&fresh, &tree)?;
    let leaf = Entry::new(domain, Kind::DecisionBatch)
        .text("root", hex::encode(tree.root()))
        .integer("count", count)
        .integer("first", i64::try_from(next).unwrap_or(i64::MAX).saturating_sub(count))
        .personal("reporter", reporter);
    let index = leaf.append(domain).await?;
    let cap = domain.settings.keep_decisions;
    let rows: Vec<DecisionRow> = rows.into_iter().map(|row| DecisionRow { log_index: index, ..row }).collect();
    let written: Result<(), StoreError> =
        domain.store.write(&domain.name, move |batch| batch.put_decisions(&spool, next, index, &rows, cap)).await;
    written?;
    Ok(index)
}

fn rows(records: &[String], tree: &Batch) -> Result<Vec<DecisionRow>, RecordError> {
    let paths = tree.paths().map_err(|_| RecordError::TooLarge)?;
    let row = |(at, (record, place)): (usize, (&String, sekisho_ledger::BatchPath))| {
        let value: Value = serde_json::from_str(record).map_err(|_| RecordError::Form(at))?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| text.len() <= 128);
        let path: Vec<String> = place.path.iter().map(hex::encode).collect();
        Ok(DecisionRow {
            id: text("id").filter(|id| is_record_id(id)).ok_or(RecordError::Form(at))?.to_owned(),
            // A node's clock may run ahead; retention goes by this time, so nobody may date a record to outlive others'.
            at_ms: value.get("at_ms").and_then(Value::as_i64).ok_or(RecordError::Form(at))?.min(now().millis()),
            effect: text("effect").or_else(|| text("kind")).ok_or(RecordError::Form(at))?.to_owned(),
            record: record.clone(),
            log_index: 0,
            place: json!({"index": place.index, "size": place.size, "path": path}).to_string(),
        })
    };
    records.iter().zip(paths).enumerate().map(row).collect()
}

/// A node names its own records, and nothing that the server names.
fn is_record_id(id: &str) -> bool {
    let digits = id.strip_prefix("dec_").or_else(|| id.strip_prefix("ref_"));
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}
