//! The records of decisions, after all programs have stopped: law L5. What the server keeps, what waits in spools and
//! what is counted as lost are together what sidecars decided.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use sekisho_disk::{Found, Segments, Spool};
use sekisho_events::{DecisionsRecorded, Event};
use sekisho_ledger::Batch;
use sekisho_proxy::Outcome;
use sekisho_types::Effect;
use serde_json::Value;

use super::decisions::{Asked, Decisions};
use super::sidecar::spiffe_id;

/// A record for which nothing waits is on disk so long after its decision, unless its sidecar stops before: two groups
/// of records, each as late as work may be.
const SPOOLED: Duration = Duration::from_millis(400);
/// More than a simulation writes.
const SPOOL_BYTES: usize = 1 << 30;

/// What the log says of the records of nodes.
#[derive(Default)]
pub(super) struct Batches {
    by_leaf: BTreeMap<u64, DecisionsRecorded>,
    /// Records that were lost, by the agent that reported it.
    lost: BTreeMap<String, u64>,
}

impl Batches {
    pub(super) fn take(&mut self, index: u64, event: &Event) {
        match event {
            Event::DecisionsRecorded(batch) => drop(self.by_leaf.insert(index, batch.clone())),
            Event::RecordsLost(gap) => {
                let reporter = gap.reporter.value().cloned().unwrap_or_default();
                *self.lost.entry(reporter).or_default() += gap.lost;
            }
            _ => {}
        }
    }
}

/// A sidecar and the agent on its machine.
pub(super) struct Pair {
    pub sidecar: String,
    pub agent: String,
}

/// One decision, as it was recorded.
struct Recorded {
    id: String,
    request: String,
    effect: String,
    policy: Option<(u64, String)>,
}

impl Recorded {
    /// If it is a decision: whose, and which.
    fn of(record: &[u8]) -> Option<(String, Self)> {
        let value: Value = serde_json::from_slice(record).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let digest = text(&value["policy_digest"]);
        let policy = digest.and_then(|digest| Some((value["policy_revision"].as_u64()?, digest)));
        let input = &value["input"];
        let (id, request, effect) = (text(&value["id"])?, text(&input["request_id"])?, text(&value["effect"])?);
        Some((text(&input["destination"])?, Self { id, request, effect, policy }))
    }

    /// Whether it is what the sidecar decided.
    fn is(&self, outcome: &Outcome) -> bool {
        let policy = outcome.policy.map(|(revision, digest)| (revision, digest.to_string()));
        self.id == outcome.id.to_string() && self.effect == outcome.effect.as_str() && self.policy == policy
    }
}

/// Holds what the server keeps in `folder` against its log, and both against what sidecars decided.
pub(super) fn check(folder: &Path, pairs: &[Pair], batches: &Batches, decisions: &Decisions) -> Result<(), String> {
    let segments = Segments::open(&folder.join("server/decisions"), u64::MAX).map_err(|error| error.to_string())?;
    let mut kept = segments.newest(None, u128::MAX, usize::MAX);
    kept.sort_by_key(|found| (found.log_index, found.position));
    let mut spools = vec![];
    for name in pairs.iter().flat_map(|pair| [&pair.sidecar, &pair.agent]) {
        spools.push(spooled(&folder.join(name).join("spool"))?);
    }
    leaves(batches, &kept, &spools)?;
    let mut ids = BTreeSet::new();
    if let Some(twice) = kept.iter().find(|found| !ids.insert((found.kept.key, found.kept.class))) {
        return Err(format!("L5: a record is kept twice, the second time under leaf {}", twice.log_index));
    }
    for (pair, both) in pairs.iter().zip(spools.chunks(2)) {
        let [spool, agents] = both else { continue };
        let own = spiffe_id(&pair.sidecar);
        let of_it =
            |record: &[u8]| Recorded::of(record).filter(|(about, _)| *about == own).map(|(_, recorded)| recorded);
        let recorded: Vec<Recorded> = kept.iter().filter_map(|found| of_it(&found.kept.record)).collect();
        let waiting: Vec<Recorded> = spool.records.iter().filter_map(|record| of_it(record)).collect();
        ordered(&pair.sidecar, &recorded, decisions)?;
        each(&pair.sidecar, &recorded, &waiting, spool.lost, decisions)?;
        let agent = format!("spiffe://example.org/spire/agent/join_token/{}", pair.agent);
        let logged = batches.lost.get(&agent).copied().unwrap_or(0);
        let (lost, is_heard) = (spool.lost + agents.lost, spool.is_heard && agents.is_heard);
        // A count that was never written is forgotten by a loss of power.
        let is_forgotten = decisions.has_bad_disk(&pair.sidecar);
        if !is_forgotten && (logged > lost || (is_heard && logged < lost)) {
            return Err(format!(
                "L5: {} and {} lost {lost} records, and the log says {logged}",
                pair.sidecar, pair.agent
            ));
        }
    }
    Ok(())
}

/// Each batch in the log is kept, whole and once; or it comes again, because the server stopped before it was stored.
fn leaves(batches: &Batches, kept: &[Found], spools: &[Spooled]) -> Result<(), String> {
    let mut by_leaf: BTreeMap<u64, Vec<&Found>> = BTreeMap::new();
    for found in kept {
        by_leaf.entry(found.log_index).or_default().push(found);
    }
    for (leaf, batch) in &batches.by_leaf {
        let records = by_leaf.remove(leaf).unwrap_or_default();
        let comes_again = |spool: &Spooled| {
            let count = usize::try_from(batch.count).unwrap_or(usize::MAX);
            let first = spool.records.get(..count).map(|first| Batch::of(first.iter().map(Vec::as_slice)).root());
            first == Some(*batch.root.as_bytes())
        };
        if records.is_empty() && spools.iter().any(comes_again) {
            continue;
        }
        let root = Batch::of(records.iter().map(|found| found.kept.record.as_ref())).root();
        if records.len() as u64 != batch.count || root != *batch.root.as_bytes() {
            let (count, kept) = (batch.count, records.len());
            return Err(format!("L5: leaf {leaf} is of {count} records, and {kept} are kept; or they are others"));
        }
    }
    match by_leaf.keys().next() {
        Some(leaf) => Err(format!("L5: records are kept under leaf {leaf}, which holds no batch")),
        None => Ok(()),
    }
}

/// What is in a spool.
struct Spooled {
    /// They wait, the oldest first.
    records: Vec<Vec<u8>>,
    lost: u64,
    /// The server has heard of all losses.
    is_heard: bool,
}

/// Reads a spool and empties it.
fn spooled(folder: &Path) -> Result<Spooled, String> {
    if !folder.is_dir() {
        return Ok(Spooled { records: vec![], lost: 0, is_heard: true });
    }
    if folder.join("spool.damaged").exists() {
        return Err(format!("{} was damaged, and no disk was", folder.display()));
    }
    let lost = std::fs::read_to_string(folder.join("lost")).ok().and_then(|text| text.trim().parse().ok());
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let spool = Spool::open(folder, SPOOL_BYTES, "after the end").map_err(|error| error.to_string())?;
    let is_heard = spool.depth().1 == 0;
    let mut records = vec![];
    while spool.depth() != (0, 0) {
        let batch = runtime.block_on(spool.next_batch(usize::MAX));
        records.extend(batch.records.iter().map(|record| record.to_vec()));
        spool.acknowledge(&batch).map_err(|error| error.to_string())?;
    }
    Ok(Spooled { records, lost: lost.unwrap_or(0), is_heard })
}

/// The order in which a sidecar decided is the order in the log.
fn ordered(name: &str, recorded: &[Recorded], decisions: &Decisions) -> Result<(), String> {
    let made = decisions.asked.iter().filter_map(|asked| asked.outcome.map(|(outcome, _)| outcome.id.to_string()));
    let number: BTreeMap<String, usize> = made.zip(0..).collect();
    let mut last = (0, "");
    for recorded in recorded {
        let Some(number) = number.get(&recorded.id) else { continue };
        if *number < last.0 {
            return Err(format!(
                "L5: {name} decided {} before {}, and the log has it behind",
                recorded.request, last.1
            ));
        }
        last = (*number, &recorded.request);
    }
    Ok(())
}

/// Each decision is recorded as it was made, or counted as lost; and nothing else is recorded.
fn each(
    name: &str,
    recorded: &[Recorded],
    waiting: &[Recorded],
    lost: u64,
    decisions: &Decisions,
) -> Result<(), String> {
    let asked: BTreeMap<String, &Asked> =
        decisions.asked.iter().filter(|asked| asked.by == name).map(|asked| (asked.request.id(), asked)).collect();
    let mut found: BTreeMap<&str, BTreeMap<&str, &Recorded>> = BTreeMap::new();
    for recorded in recorded.iter().chain(waiting) {
        found.entry(&recorded.request).or_default().insert(&recorded.id, recorded);
    }
    for (request, of_it) in &found {
        let Some(asked) = asked.get(*request) else { return Err(format!("L5: {name} never decided {request}")) };
        for recorded in of_it.values() {
            is_true(name, asked, recorded, decisions)?;
        }
        // A request that was allowed and then cut has two decisions.
        let may_be_cut = asked.request.stays_open && asked.outcome.is_none_or(|(outcome, _)| outcome.effect.is_allow());
        if of_it.len() > 1 + usize::from(may_be_cut) {
            return Err(format!("L5: {name} has {} decisions on {request}", of_it.len()));
        }
    }
    let (mut missing, mut excused, mut silent) = (0u64, 0u64, None);
    for (request, asked) in asked {
        let of_it = found.get(request.as_str());
        let Some((outcome, at)) = asked.outcome else {
            excused += u64::from(of_it.is_none()) + u64::from(asked.request.stays_open);
            continue;
        };
        let is_there = of_it.is_some_and(|of_it| of_it.contains_key(outcome.id.to_string().as_str()));
        let has_cut = of_it.is_some_and(|of_it| of_it.len() > usize::from(is_there));
        let stops = |at: Duration| {
            let until = (name.to_owned(), at + SPOOLED);
            decisions.stopped.range((name.to_owned(), at)..=until).next().is_some()
        };
        // A denial is on disk when the sidecar has it; nothing waits for the other records. What a failing disk did not
        // take is counted as lost, or forgotten with the count.
        let mut miss = |is_excused: bool, effect: Effect, at: Duration| {
            let is_excused = is_excused || decisions.failed_between(name, at.saturating_sub(SPOOLED), at + SPOOLED);
            let count = if is_excused { &mut excused } else { &mut missing };
            *count += 1;
            if !is_excused {
                silent = Some(format!("{request} ({effect}) at {at:?}"));
            }
        };
        if !is_there {
            miss(outcome.effect.is_allow() && stops(at), outcome.effect, at);
        }
        match asked.cut {
            Some(at) if !has_cut => miss(stops(at), Effect::Deny, at),
            // It may have been cut without anyone who saw it.
            None if !has_cut => excused += u64::from(asked.request.stays_open),
            _ => {}
        }
    }
    if missing > lost || lost > missing + excused {
        let last = silent.unwrap_or_default();
        return Err(format!("L5: {missing} decisions of {name} have no record, and it counts {lost} as lost: {last}"));
    }
    Ok(())
}

/// A record says what was decided, and what its policy says.
fn is_true(name: &str, asked: &Asked, recorded: &Recorded, decisions: &Decisions) -> Result<(), String> {
    let request = &recorded.request;
    let is_it = asked.outcome.is_some_and(|(outcome, _)| recorded.is(&outcome));
    let is_other = asked.outcome.is_none_or(|(outcome, _)| recorded.id != outcome.id.to_string());
    let rules = recorded.policy.as_ref().and_then(|(_, digest)| {
        let mut all = decisions.rules.iter();
        all.find(|(known, _)| known.to_string() == *digest).map(|(_, rules)| rules)
    });
    let is_allowed = rules.is_some_and(|rules| rules.allow(&asked.subject, &asked.request));
    if !is_it && !is_other {
        return Err(format!("L5: the record of {request} is not what {name} decided"));
    }
    if is_allowed != (recorded.effect == Effect::Allow.as_str()) {
        return Err(format!("L3: the record of {request} says {}, and its policy does not", recorded.effect));
    }
    Ok(())
}
