//! Decisions and refusals made on nodes: recorded once, as one leaf that holds the root of their batch (law L5).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sekisho_disk::{DiskError, IndexedRecord};
use sekisho_events::{DecisionsRecorded, LostSince, RecordClass, RecordHead, RecordId, RecordsLost};
use sekisho_identity::Standing;
use sekisho_runtime::metrics::Metrics;
use sekisho_runtime::metrics::registry::{DETECT_SECONDS, RECORDED_DECISIONS};
use sekisho_runtime::now;
use sekisho_store::{Conflict, Expect, SpoolPosition, StoreError, Write};
use sekisho_types::{Digest, SpiffeId, UnixTime};

use crate::caller::AgentCaller;
use crate::change::Change;
use crate::denied::Denied;
use crate::domain::{Domain, Log};
use crate::journal::{JournalError, personal};
use crate::refusal::Fault;
use crate::run::Run;
use crate::trusted_time::TrustedTime;
use crate::unstored::{self, Logged, Source, Unstored};

const MAX_RECORDS: usize = 4096;
/// How far a node's clock may be ahead of ours.
const MAX_AHEAD_SECONDS: i64 = 24 * 3600;
/// Workloads that the records of one batch speak of.
const MAX_DESTINATIONS: usize = 64;
const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// A spool's name: a SPIFFE ID of the greatest length, and what its sidecar calls it.
const MAX_SPOOL: usize = 2048 + 128;
/// How much longer than an entry its SVIDs live at most, and decisions are made under them.
const LONGEST_SVID_SECONDS: i64 = 24 * 3600;
const MAX_UNSTORED: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a batch has at most {MAX_RECORDS} records of at most {MAX_RECORD_BYTES} bytes")]
    TooLarge,
    #[error(
        "record {0} is not JSON with `id` (`dec_` or `ref_`, 12 digits of its time, 20 more), `at_ms`, `kind` and, for \
            a decision, `effect`"
    )]
    Form(usize),
    #[error("a record's time is more than a day ahead; set the node's clock")]
    Ahead,
    #[error(
        "a record is older than the {0} days for which decisions are kept; set the node's clock, or keep them longer"
    )]
    Behind(u32),
    #[error("a record is about `{0}`, which is not a workload of this node")]
    Foreign(String),
    #[error("this node has sent too many batches of records; send them again later, in larger batches")]
    Budget,
    #[error("the batch key is not `spool:position`, or a number in it or in `lost` is too large")]
    Key,
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}; its records are taken when it attests again")]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Denied(#[from] Denied),
}

impl Fault for RecordError {
    fn is_caller_fault(&self) -> bool {
        match self {
            // An honest agent's connection ends with its SVID.
            Self::Conflict(Conflict::Standing { standing, .. }) => *standing != Standing::Superseded,
            // Another conflict passes when the agent has attested again.
            Self::Journal(_) | Self::Store(_) | Self::Conflict(_) | Self::Disk(_) => false,
            Self::Denied(denied) => denied.is_caller_fault(),
            _ => true,
        }
    }

    fn log_message(&self) -> String {
        self.to_string()
    }
}

/// Records a batch of `reporter`. Returns the leaf's index; a repeated batch gets the index that it had. `lost` is how
/// many records the spool has lost since it was made.
pub(crate) async fn batch(
    run: &Run<'_, AgentCaller>,
    mut unstored: RecordingLock,
    key: &str,
    records: Vec<Bytes>,
    lost: u64,
) -> Result<u64, RecordError> {
    if records.len() > MAX_RECORDS || records.iter().any(|record| record.len() > MAX_RECORD_BYTES) {
        return Err(RecordError::TooLarge);
    }
    let (domain, agent) = (run.domain, run.caller);
    let (spool, first) = spool_and_first(key)?;
    let lost = Some(lost).filter(countable).ok_or(RecordError::Key)?;
    let reporter = &agent.id.get().to_string();
    let known = domain.store.spool(&domain.identity.name, agent.id.get(), spool).await?;
    let before = known.unwrap_or_default();
    let skip = usize::try_from(before.next.saturating_sub(first)).unwrap_or(usize::MAX);
    let repeated = !records.is_empty() && skip >= records.len();
    let fresh: Vec<Bytes> = records.into_iter().skip(skip).collect();
    // Before anything is read of them; what is repeated or empty takes no leaf.
    if (!fresh.is_empty() || lost > before.lost) && !domain.limits.budgets.records(agent.id.get(), now()) {
        return Err(RecordError::Budget);
    }
    // Records that should stand between what was recorded and this batch are lost as well.
    let skipped = if fresh.is_empty() { 0 } else { first.saturating_sub(before.next) };
    let missing = skipped + lost.saturating_sub(before.lost);
    if repeated || (fresh.is_empty() && missing == 0) {
        return Ok(before.log_index);
    }
    // A spool may have been heard of before its agent was evicted, or under another agent's name.
    let since = if known.is_some() || skipped == 0 { LostSince::LastHeard } else { LostSince::Unknown };
    let mut start = before.next.max(first);
    let (mut kept, about) = read(fresh)?;
    if let Some(foreign) = of_another_node(domain, agent, about).await? {
        return Err(RecordError::Foreign(foreign));
    }
    check_times(&domain.watch.trusted_time, domain.settings.retention.decisions_days, &kept)?;
    let (mut is, mut missing) = (known, missing);
    let source = Source { reporter: reporter.clone(), spool: Some(spool.to_owned()) };
    loop {
        let earlier = unstored::earlier(&unstored, &domain.log.logged_before, &source, start, &kept);
        let count = earlier.as_ref().map_or(kept.len(), |logged| usize::try_from(logged.count).unwrap_or(usize::MAX));
        let behind = kept.split_off(count.min(kept.len()));
        let stated = earlier.as_ref().map_or(missing, |logged| logged.missing.min(missing));
        missing -= stated;
        let next = start + kept.len() as u64;
        let position = SpoolPosition { next, log_index: 0, lost: lost.max(before.lost).saturating_sub(missing) };
        let gap = RecordsLost { lost: stated, reporter: personal(reporter.clone()), what: Some(since) };
        let stored = if kept.is_empty() {
            let log_index = is.unwrap_or_default().log_index;
            put(run, spool, is, SpoolPosition { log_index, ..position }, Some(gap)).await?
        } else {
            let log_index = match earlier {
                Some(logged) => logged.log_index,
                None => log(run, &mut unstored, &source, start, &kept, gap).await?,
            };
            let followed = domain.streams.followers.wants(&kept);
            store(domain, reporter, log_index, kept).await?;
            let stored = put(run, spool, is, SpoolPosition { log_index, ..position }, None).await?;
            unstored.retain(|logged| logged.log_index != log_index);
            if let Some(records) = followed {
                domain.streams.followers.arrived(log_index, records);
            }
            stored
        };
        if behind.is_empty() && missing == 0 {
            return Ok(stored.log_index);
        }
        (is, kept, start) = (Some(stored), behind, next);
    }
}

/// Logs records that begin at this position of their spool, behind the gap, if something is lost. Returns their leaf.
async fn log(
    run: &Run<'_, AgentCaller>,
    unstored: &mut Unstored,
    source: &Source,
    first: u64,
    kept: &[IndexedRecord],
    gap: RecordsLost,
) -> Result<u64, RecordError> {
    in_good_standing(run)?;
    let (count, root, missing) = (kept.len() as u64, unstored::root_of(kept), gap.lost);
    let reporter = personal(source.reporter.clone());
    let recorded = DecisionsRecorded { count, first, reporter, root: Digest::new(root) };
    let log_index = match missing {
        0 => run.log(recorded).await?,
        _ => run.domain.journal().append_both(gap, recorded).await?,
    };
    count_records(&run.domain.watch.metrics, kept);
    unstored.truncate(MAX_UNSTORED - 1);
    unstored.insert(0, Logged { source: source.clone(), first, count, root, missing, log_index });
    Ok(log_index)
}

/// Right before a leaf: the answer waits for the position, which is written for an agent in good standing only.
fn in_good_standing(run: &Run<'_, AgentCaller>) -> Result<(), RecordError> {
    let (agent, standing) = (run.caller.id.get().clone(), run.caller.standing(run.domain));
    if standing == Standing::Good { Ok(()) } else { Err(Conflict::Standing { agent, standing }.into()) }
}

/// Stores up to where a spool is recorded, instead of `is`. A gap without records has its leaf from the same
/// transaction, so it is counted once.
async fn put(
    run: &Run<'_, AgentCaller>,
    spool: &str,
    is: Option<SpoolPosition>,
    position: SpoolPosition,
    gap: Option<RecordsLost>,
) -> Result<SpoolPosition, RecordError> {
    in_good_standing(run)?;
    let (node, spool) = (run.caller.id.get().clone(), spool.to_owned());
    let change = Change::with_reply(())
        .expect(Expect::Spool { node: node.clone(), spool: spool.clone(), is })
        .write(Write::PutSpool { node, spool, position });
    let change = match gap {
        Some(gap) => change.event(gap),
        None => change,
    };
    // Once: what it was read from does not change by another attempt.
    run.change_all::<_, RecordError>(vec![change]).await?.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(position)
}

/// Keeps records for listing and proving.
async fn store(domain: &Domain, reporter: &str, log_index: u64, kept: Vec<IndexedRecord>) -> Result<(), RecordError> {
    if kept.is_empty() {
        return Ok(());
    }
    let (decisions, reporter) = (domain.log.decisions.clone(), reporter.to_owned());
    let appended = sekisho_runtime::blocking(move || decisions.append(&reporter, log_index, &kept)).await;
    Ok(appended.map_err(|stopped| DiskError::Stopped(stopped.to_string()))??)
}

/// Counts what is on record now, and how long ago it happened.
fn count_records(metrics: &Metrics, kept: &[IndexedRecord]) {
    let clock = now().millis();
    let mut counts = BTreeMap::new();
    for record in kept {
        let kind = match RecordClass::of(record.class) {
            RecordClass::Allow => "allow",
            RecordClass::Deny => "deny",
            RecordClass::Refusal => "refusal",
        };
        *counts.entry(kind).or_default() += 1;
        if kind != "allow" {
            let ago = u64::try_from(clock.saturating_sub(id_of(record).at_ms())).unwrap_or(0);
            metrics.observe(&DETECT_SECONDS, &[kind], Duration::from_millis(ago));
        }
    }
    for (kind, count) in counts {
        metrics.add(&RECORDED_DECISIONS, &[kind], count);
    }
}

/// The spool that a batch is of, and the number of its first record.
fn spool_and_first(key: &str) -> Result<(&str, u64), RecordError> {
    let (spool, first) = key.rsplit_once(':').filter(|(spool, _)| spool.len() <= MAX_SPOOL).ok_or(RecordError::Key)?;
    Ok((spool, first.parse().ok().filter(countable).ok_or(RecordError::Key)?))
}

/// Whether SQLite can count that far.
const fn countable(number: &u64) -> bool {
    *number < u64::MAX / 4
}

/// Refuses records of times at which a search for others would have to look too.
fn check_times(trusted_time: &TrustedTime, days: u32, kept: &[IndexedRecord]) -> Result<(), RecordError> {
    let clock = now();
    let latest = clock.plus_seconds(MAX_AHEAD_SECONDS).millis();
    if kept.iter().any(|kept| id_of(kept).at_ms() > latest) {
        return Err(RecordError::Ahead);
    }
    // By the time that is believed: a clock of ours that is ahead refuses nothing for good.
    let believed = trusted_time.time(clock).min(clock);
    let earliest = believed.plus_seconds(-i64::from(days) * 24 * 3600).millis();
    if kept.iter().any(|kept| id_of(kept).at_ms() < earliest) {
        return Err(RecordError::Behind(days));
    }
    Ok(())
}

/// Held while a batch is recorded.
pub(crate) type RecordingLock = tokio::sync::OwnedMutexGuard<Unstored>;

/// Waits for the lock of batches with this key: those of one spool are recorded one after the other.
pub(crate) async fn recording_lock(log: &Log, agent: &SpiffeId, key: &str) -> RecordingLock {
    let spool = key.rsplit_once(':').map_or(key, |(spool, _)| spool);
    let [first, ..] = sekisho_ledger::sha256_of(format!("{agent} {spool}").as_bytes());
    let [fallback, ..] = &log.recording;
    let locks = log.recording.get(usize::from(first) % log.recording.len()).unwrap_or(fallback);
    locks.clone().lock_owned().await
}

/// The id that a kept record has.
pub(crate) fn id_of(kept: &IndexedRecord) -> RecordId {
    RecordId::of(RecordClass::of(kept.class), kept.key)
}

/// Reads records as a node sends them: how many there are, or what is wrong.
pub fn check_records(records: Vec<Bytes>) -> Result<usize, String> {
    read(records).map(|(kept, _)| kept.len()).map_err(|error| error.to_string())
}

/// Whose decisions records say they are, and of when the newest is, in Unix milliseconds.
type About = BTreeMap<SpiffeId, i64>;

/// Records with what they are found by, and whom they are about.
fn read(records: Vec<Bytes>) -> Result<(Vec<IndexedRecord>, About), RecordError> {
    let (mut kept, mut about) = (vec![], About::new());
    for (at, record) in records.into_iter().enumerate() {
        let head = RecordHead::read(&record).ok_or(RecordError::Form(at))?;
        if let Some(destination) = head.destination {
            let newest = about.entry(destination).or_insert(i64::MIN);
            *newest = head.id.at_ms().max(*newest);
        }
        kept.push(IndexedRecord { key: head.id.key(), class: head.class.number(), record });
        if about.len() > MAX_DESTINATIONS {
            return Err(RecordError::TooLarge);
        }
    }
    Ok((kept, about))
}

/// One of these that is not a workload of this node and was not one when its records were made. An identity that no
/// entry gives any more may have been one.
async fn of_another_node(domain: &Domain, agent: &AgentCaller, about: About) -> Result<Option<String>, StoreError> {
    let mut unknown = about;
    let in_time = |newest: i64, until: UnixTime| newest <= until.plus_seconds(LONGEST_SVID_SECONDS).millis();
    let serves = domain.view.read(|state| {
        let serves = state.serves(&agent.node, &domain.identity.server_id, now());
        unknown.retain(|id, newest| {
            // An entry that has expired may have been valid when its records were made.
            let served = |entry: &sekisho_identity::Entry| {
                serves.contains(&entry.parent_id) && entry.expires_at.is_none_or(|end| in_time(*newest, end))
            };
            let mut given = state.entries_of(id).peekable();
            given.peek().is_some() && !given.any(|entry| served(entry))
        });
        serves
    });
    for (id, newest) in unknown {
        let former = domain.store.former_parents(&domain.identity.name, &id).await?;
        if !former.iter().any(|(parent, until)| serves.contains(parent) && in_time(newest, *until)) {
            return Ok(Some(id.to_string()));
        }
    }
    Ok(None)
}
