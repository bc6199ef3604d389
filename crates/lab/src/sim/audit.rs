//! The log, read from disk after all programs have stopped: law L5, and that it was only appended to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sekisho_disk::{Ledger, NewEntry};
use sekisho_events::{Event, Leaf};
use sekisho_keys::load;
use sekisho_ledger::{Checkpoint, Frontier, TILE_WIDTH, TrustPolicy, leaf_hash};
use sekisho_types::{Digest, EntryId, SignatureAlgorithm};

use super::fleet::wait_for_the_lock;
use super::model::Model;
use super::records::Batches;

/// What the audit found.
#[derive(Default)]
pub(super) struct Audited {
    pub size: u64,
    pub batches: Batches,
}

/// Opens the server's log and compares it with what others saw of it and received from it.
pub(super) fn check(data: &Path, model: &Model) -> Result<Audited, String> {
    let folder = data.join("ledger");
    wait_for_the_lock(&folder);
    let origin = std::fs::read(folder.join("origin")).map_err(|error| format!("origin: {error}"))?;
    let origin: serde_json::Value = serde_json::from_slice(&origin).map_err(|error| error.to_string())?;
    let origin = origin["origin"].as_str().unwrap_or_default();
    let key = load(&data.join("keys/log.key"), SignatureAlgorithm::Ed25519).map_err(|error| error.to_string())?;
    let (ledger, recovered) = Ledger::open(&folder, origin, Arc::new(key)).map_err(|error| error.to_string())?;
    let entries = entries(&ledger, recovered.size)?;
    roots(&ledger, &entries, model)?;
    let mut history = History::default();
    let mut issued = BTreeMap::new();
    let (mut attested, mut batches) = (0u64, Batches::default());
    for (index, entry) in (0u64..).zip(&entries) {
        let leaf =
            Leaf::decode_with_side(&entry.leaf, &entry.side).map_err(|error| format!("leaf {index}: {error}"))?;
        history.take(index, &leaf.event);
        batches.take(index, &leaf.event);
        match leaf.event {
            Event::X509Issued(event) => drop(issued.insert(event.tbs_sha256, (index, event.entry))),
            Event::Attested(_) => attested += 1,
            _ => {}
        }
    }
    let known = model.known();
    for svid in &known.issued {
        let found = issued.get::<Digest>(&svid.tbs_sha256);
        if let Some((index, entry)) = found {
            history.judge(&svid.to, *index, entry.as_ref())?;
        }
        match (found.map(|(index, _)| *index), svid.log_index) {
            (None, _) => return Err(format!("L5: {} holds an SVID that has no leaf ({:?})", svid.to, svid.log_index)),
            (Some(leaf), Some(index)) if leaf != index => {
                return Err(format!("L5: {} was given leaf {index} for an SVID whose leaf is {leaf}", svid.to));
            }
            _ => {}
        }
    }
    let acknowledged = known.spent.values().map(|count| u64::from(*count)).sum::<u64>();
    if attested < acknowledged {
        return Err(format!("L5: {acknowledged} attestations were acknowledged, {attested} are in the log"));
    }
    Ok(Audited { size: recovered.size, batches })
}

/// What the log says of agents and entries, in its order.
#[derive(Default)]
struct History {
    deleted: BTreeMap<EntryId, u64>,
    agents: BTreeMap<String, Vec<(u64, &'static str)>>,
}

impl History {
    fn take(&mut self, index: u64, event: &Event) {
        let (agent, what) = match event {
            Event::EntryDeleted(event) => {
                self.deleted.insert(event.entry.clone(), index);
                return;
            }
            Event::AgentBanned(event) => (&event.agent, "banned"),
            Event::AgentEvicted(event) => (&event.agent, "evicted"),
            Event::Attested(event) => (&event.agent, "attested"),
            _ => return,
        };
        if let Some(agent) = agent.value() {
            self.agents.entry(agent.to_string()).or_default().push((index, what));
        }
    }

    /// Law L6: an issuance is judged again after its leaf is durable. So no SVID is given out whose leaf follows the
    /// deletion of its entry, or the ban of the agent that asked.
    fn judge(&self, to: &str, index: u64, entry: Option<&EntryId>) -> Result<(), String> {
        if let Some((id, at)) = entry.and_then(|id| Some((id, *self.deleted.get(id)?))).filter(|(_, at)| *at < index) {
            return Err(format!("L6: {to} holds an SVID of {id} by leaf {index}, and leaf {at} deletes the entry"));
        }
        let before = self.agents.get(to).into_iter().flatten().take_while(|(at, _)| *at < index).last();
        match before {
            Some((at, what)) if entry.is_some() && *what == "banned" => {
                Err(format!("L6: {to} holds an SVID by leaf {index}, and leaf {at} says that it is {what}"))
            }
            _ => Ok(()),
        }
    }
}

fn entries(ledger: &Ledger, size: u64) -> Result<Vec<NewEntry>, String> {
    let mut entries = vec![];
    for number in 0..size.div_ceil(TILE_WIDTH) {
        let bundle = ledger.bundle(number, size).ok_or_else(|| format!("bundle {number} cannot be read"))?;
        entries.extend(bundle);
    }
    Ok(entries)
}

/// Each checkpoint that was read is of a beginning of the log as it is now: so any two are consistent.
fn roots(ledger: &Ledger, entries: &[NewEntry], model: &Model) -> Result<(), String> {
    let policy = TrustPolicy::parse(&format!("log {}\nquorum none\n", ledger.verifier())).map_err(|e| e.to_string())?;
    let mut seen = BTreeMap::new();
    for note in &model.known().checkpoints {
        let Checkpoint { size, root, .. } = policy.verify(note).map_err(|error| format!("a checkpoint: {error}"))?;
        if seen.insert(size, root).is_some_and(|other| other != root) {
            return Err(format!("two checkpoints of size {size} have different roots"));
        }
    }
    let mut frontier = Frontier::default();
    let mut check = |frontier: &Frontier| match seen.remove(&frontier.size()) {
        Some(root) if frontier.size() > 0 && root != frontier.root() => {
            Err(format!("L5: the log was changed before {}", frontier.size()))
        }
        _ => Ok(()),
    };
    check(&frontier)?;
    for entry in entries {
        frontier.push(leaf_hash(&entry.leaf), |_, _, _| ());
        check(&frontier)?;
    }
    match seen.keys().next_back() {
        Some(size) => {
            Err(format!("L5: a checkpoint of size {size} was seen, and the log has {} entries", entries.len()))
        }
        None => Ok(()),
    }
}
