//! Decisions and refusals made on nodes: recorded once, as one leaf that holds the root of their batch (law L5).

use sekisho_ledger::{Batch, Kind};
use sekisho_runtime::now;
use sekisho_store::{DecisionRow, SpoolPosition, StoreError};
use serde_json::{Value, json};

use crate::counters::Counters;
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
    #[error("the batch key is not `spool:position`, or a number in it or in `lost` is beyond all counting")]
    Key,
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Records a batch of `reporter`. Returns the leaf's index; a repeated batch gets the index that it had. `lost` is how
/// many records the spool has lost since it was made.
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
    // What SQLite can count.
    let countable = |number: &u64| *number < u64::MAX / 4;
    let first: u64 = first.parse().ok().filter(countable).ok_or(RecordError::Key)?;
    let lost = Some(lost).filter(countable).ok_or(RecordError::Key)?;
    // The reporter is part of the name, so that one node cannot move another's position.
    let spool = format!("{reporter} {spool}");
    let _turn = turn(domain, &spool).lock().await;
    let before = domain.store.read(|reader| reader.spool_position(&domain.name, &spool))?;
    let skip = usize::try_from(before.next.saturating_sub(first)).unwrap_or(usize::MAX);
    let repeated = !records.is_empty() && skip >= records.len();
    let fresh: Vec<String> = records.into_iter().skip(skip).collect();
    // Records that should stand between what was recorded and this batch are lost as well.
    let skipped = if fresh.is_empty() { 0 } else { first.saturating_sub(before.next) };
    let missing = skipped + lost.saturating_sub(before.lost);
    if repeated || (fresh.is_empty() && missing == 0) {
        return Ok(before.log_index);
    }
    let gap = || {
        let missing = i64::try_from(missing).unwrap_or(i64::MAX);
        Entry::new(domain, Kind::Gap).text("what", "records").integer("lost", missing).personal("reporter", reporter)
    };
    let next = before.next.max(first) + fresh.len() as u64;
    let tree = Batch::of(fresh.iter().map(|record| record.as_bytes()));
    let rows = rows(&fresh, &tree)?;
    let log_index = if fresh.is_empty() {
        gap().append(domain).await?
    } else {
        let leaf = batch_leaf(domain, reporter, &tree, next, fresh.len());
        if missing > 0 { gap().append_before(leaf, domain).await? } else { leaf.append(domain).await? }
    };
    Counters::count(&domain.counters.records_taken, rows.len() as u64);
    let cap = domain.settings.keep_decisions;
    let rows: Vec<DecisionRow> = rows.into_iter().map(|row| DecisionRow { log_index, ..row }).collect();
    let position = SpoolPosition { next, log_index, lost: lost.max(before.lost) };
    let written: Result<(), StoreError> =
        domain.store.write(&domain.name, move |batch| batch.put_decisions(&spool, position, &rows, cap)).await;
    written?;
    Ok(log_index)
}

fn batch_leaf(domain: &Domain, reporter: &str, tree: &Batch, next: u64, count: usize) -> Entry {
    let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Entry::new(domain, Kind::DecisionBatch)
        .text("root", hex::encode(tree.root()))
        .integer("count", integer(count as u64))
        .integer("first", integer(next.saturating_sub(count as u64)))
        .personal("reporter", reporter)
}

/// The lock that batches of this spool take in turn.
fn turn<'a>(domain: &'a Domain, spool: &str) -> &'a tokio::sync::Mutex<()> {
    let [first, ..] = sekisho_ledger::sha256_of(spool.as_bytes());
    let [fallback, ..] = &domain.recording;
    domain.recording.get(usize::from(first) % domain.recording.len()).unwrap_or(fallback)
}

/// Reads records as a node sends them: how many there are, or what is wrong.
pub fn check_records(records: &[String]) -> Result<usize, String> {
    let tree = Batch::of(records.iter().map(|record| record.as_bytes()));
    rows(records, &tree).map(|rows| rows.len()).map_err(|error| error.to_string())
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
