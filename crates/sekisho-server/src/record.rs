//! Decisions and refusals made on nodes: recorded once, as one leaf that holds the root of their batch (law L5).

use std::collections::BTreeSet;

use bytes::Bytes;
use sekisho_disk::{DiskError, RecordKept};
use sekisho_ledger::{Batch, Kind};
use sekisho_runtime::now;
use sekisho_store::{SpoolPosition, StoreError};
use sekisho_types::SpiffeId;

use crate::counters::Counters;
use crate::domain::Domain;
use crate::grpc::AgentCaller;
use crate::journal::{Entry, JournalError};
use crate::record_form;

const MAX_RECORDS: usize = 4096;
/// How far a node's clock may be ahead of ours.
const MAX_AHEAD_SECONDS: i64 = 24 * 3600;
/// Workloads that the records of one batch speak of.
const MAX_DESTINATIONS: usize = 64;
const MAX_RECORD_BYTES: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a batch has at most {MAX_RECORDS} records of at most {MAX_RECORD_BYTES} bytes")]
    TooLarge,
    #[error(
        "record {0} is not JSON with `id` (`dec_` or `ref_`, 12 digits of its time, 20 more), `at_ms`, `kind` and, for a \
         decision, `effect`"
    )]
    Form(usize),
    #[error("a record's time is more than a day ahead; set the node's clock")]
    Ahead,
    #[error("a record is about `{0}`, which is no workload of this node")]
    Foreign(String),
    #[error("the batch key is not `spool:position`, or a number in it or in `lost` is beyond all counting")]
    Key,
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Records a batch of `reporter`. Returns the leaf's index; a repeated batch gets the index that it had. `lost` is how
/// many records the spool has lost since it was made.
pub(crate) async fn batch(
    domain: &Domain,
    agent: &AgentCaller,
    key: &str,
    records: Vec<Bytes>,
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
    let reporter = &agent.id.get().to_string();
    let spool = format!("{reporter} {spool}");
    let _turn = turn(domain, &spool).lock().await;
    let before = domain.store.read(|reader| reader.spool_position(&domain.name, &spool))?;
    let skip = usize::try_from(before.next.saturating_sub(first)).unwrap_or(usize::MAX);
    let repeated = !records.is_empty() && skip >= records.len();
    let fresh: Vec<Bytes> = records.into_iter().skip(skip).collect();
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
    let (tree, kept, about) = read(fresh)?;
    if let Some(foreign) = of_another_node(domain, agent, about) {
        return Err(RecordError::Foreign(foreign));
    }
    let latest = now().plus_seconds(MAX_AHEAD_SECONDS).millis();
    if kept.iter().any(|kept| i64::try_from(kept.key >> 80).unwrap_or(i64::MAX) > latest) {
        return Err(RecordError::Ahead);
    }
    let log_index = if kept.is_empty() {
        gap().append(domain).await?
    } else {
        let leaf = batch_leaf(domain, reporter, &tree, next, kept.len());
        if missing > 0 { gap().append_before(leaf, domain).await? } else { leaf.append(domain).await? }
    };
    Counters::count(&domain.counters.records_taken, kept.len() as u64);
    if !kept.is_empty() {
        let decisions = domain.decisions.clone();
        let appended = tokio::task::spawn_blocking(move || decisions.append(log_index, &kept)).await;
        appended.map_err(|ended| DiskError::Stopped(ended.to_string()))??;
    }
    let position = SpoolPosition { next, log_index, lost: lost.max(before.lost) };
    let written: Result<(), StoreError> =
        domain.store.write(&domain.name, move |batch| batch.put_spool_position(&spool, position)).await;
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
pub fn check_records(records: Vec<Bytes>) -> Result<usize, String> {
    read(records).map(|(_, kept, _)| kept.len()).map_err(|error| error.to_string())
}

/// A batch's tree, its records, and whose decisions they say they are.
fn read(records: Vec<Bytes>) -> Result<(Batch, Vec<RecordKept>, BTreeSet<String>), RecordError> {
    let tree = Batch::of(records.iter().map(AsRef::as_ref));
    let (mut kept, mut about) = (vec![], BTreeSet::new());
    for (at, record) in records.into_iter().enumerate() {
        let (record, destination) = record_form::read(record).ok_or(RecordError::Form(at))?;
        kept.push(record);
        about.extend(destination.filter(|destination| !about.contains(destination)));
        if about.len() > MAX_DESTINATIONS {
            return Err(RecordError::TooLarge);
        }
    }
    Ok((tree, kept, about))
}

/// One of these that entries give to processes of other nodes only. One that no entry gives any more may have been this
/// node's when the record was made.
fn of_another_node(domain: &Domain, agent: &AgentCaller, about: BTreeSet<String>) -> Option<String> {
    let mut unknown: BTreeSet<SpiffeId> = about.iter().filter_map(|id| SpiffeId::parse(id).ok()).collect();
    domain.view.read(|state| {
        for entry in state.authorized(&agent.node, &domain.server_id, now()) {
            unknown.remove(&entry.spiffe_id);
        }
        if unknown.is_empty() {
            return None;
        }
        let foreign = state.entries.values().find(|entry| unknown.contains(&entry.spiffe_id));
        foreign.map(|entry| entry.spiffe_id.to_string())
    })
}
