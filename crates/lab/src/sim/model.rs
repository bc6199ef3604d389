//! What the simulation knows to be true, and the laws that each answer is held against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sekisho_identity::LeafFacts;
use sekisho_ports::Machine;
use sekisho_types::Digest;

use super::decisions::Decisions;
use super::lives::Sidecars;

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer<T> {
    Done(T),
    Refused(String),
    /// No answer came: it may have happened or not.
    Unknown,
}

impl<T> Answer<T> {
    pub(super) fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Refused(_) | Self::Unknown => None,
        }
    }

    pub(super) fn says(&self) -> &str {
        match self {
            Self::Done(_) => "done",
            Self::Refused(why) => why,
            Self::Unknown => "no answer",
        }
    }
}

/// How an entry stands by what the operator heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stands {
    Created,
    /// From then on nothing may be issued for it.
    Deleted(Duration),
    Unknown,
}

#[derive(Debug, Clone)]
pub(super) struct KnownEntry {
    pub parent: String,
    pub stands: Stands,
}

/// An eviction that was acknowledged. What attested between its two times may have come before it or after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evicted {
    pub asked: Duration,
    pub heard: Duration,
}

impl Evicted {
    /// When the operator heard of it, if what attested at `since` was worth nothing when the server let something go.
    fn broken_at(self, since: Duration, left: Duration) -> Option<Duration> {
        (since < self.asked && left > self.heard).then_some(self.heard)
    }
}

/// An SVID that was given out.
pub(super) struct Issued {
    pub tbs_sha256: Digest,
    pub log_index: Option<u64>,
    pub to: String,
}

#[derive(Default)]
pub(super) struct Known {
    pub trace: Vec<String>,
    pub broken: Option<String>,
    pub entries: BTreeMap<String, KnownEntry>,
    /// Agents that entries may have as parents.
    pub agents: BTreeSet<String>,
    /// When the operator heard that an agent is banned.
    pub banned: BTreeMap<String, Duration>,
    /// Agents that were evicted, which lifts a ban: what one held before is worth nothing.
    pub evicted: BTreeMap<String, Evicted>,
    /// Tokens that wait for a node, each with its agent's ID.
    pub tokens: Vec<(String, String)>,
    /// Attestations that succeeded with each token.
    pub spent: BTreeMap<String, u32>,
    pub issued: Vec<Issued>,
    /// What nodes wait for now, by node: an agent and an entry.
    pub asked: BTreeMap<String, (String, String)>,
    pub checkpoints: BTreeSet<String>,
    pub authorities: Vec<Digest>,
    /// Programs that wait for a join token, by the agent's name.
    pub wants_token: BTreeSet<String>,
    /// Tokens for them.
    pub for_agents: BTreeMap<String, String>,
    pub revision: u64,
    /// The operator does no more changes, and compares.
    pub is_calm: bool,
    pub agent_sockets: BTreeMap<String, std::path::PathBuf>,
    pub compared: Option<String>,
    pub counts: BTreeMap<&'static str, u64>,
    pub sidecars: Sidecars,
    pub decisions: Decisions,
    /// When all agents had what the server has, for the first time after the faults.
    pub converged: Option<Duration>,
    /// When the last change was acknowledged.
    pub last_deleted: Option<Duration>,
    /// What is to stop and start, while nothing else fails.
    pub rest: Option<Rest>,
}

/// Programs that stop when the operator says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// The first agent, and its sidecar.
    Machine,
    /// The second agent.
    Agent,
}

#[derive(Clone, Default)]
pub(super) struct Model(Arc<Mutex<Known>>);

impl Model {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap()
    }

    /// Notes an event at the time of the machine that it happens on.
    pub(super) fn note(&self, who: &str, what: &str) {
        let at = Machine::current().map_or(Duration::ZERO, |machine| machine.elapsed());
        self.note_at(at, who, what);
    }

    pub(super) fn note_at(&self, at: Duration, who: &str, what: &str) {
        self.known().trace.push(format!("{:>9.3} {who}: {what}", at.as_secs_f64()));
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.known().counts.entry(what).or_default() += 1;
    }

    pub(super) fn broken(&self, law: &str, what: &str) {
        self.note("LAW", &format!("{law} is broken: {what}"));
        self.known().broken.get_or_insert_with(|| format!("{law}: {what}"));
    }

    /// Law L4: a token attests one node.
    pub(super) fn attested(&self, token: &str) {
        let count = {
            let mut known = self.known();
            let count = known.spent.entry(token.to_owned()).or_default();
            *count += 1;
            *count
        };
        if count > 1 {
            self.broken("L4", &format!("a join token attested {count} times"));
        }
    }

    /// Law L6: an agent's own SVID, which was renewed by one that attested at `since`, when the server let it go.
    pub(super) fn renewed(&self, since: Duration, id: &str, left: Duration) {
        let (banned, evicted) = {
            let known = self.known();
            (known.banned.get(id).copied(), known.evicted.get(id).copied())
        };
        if let Some(at) = banned.filter(|at| left > *at) {
            self.broken("L6", &format!("{id} renewed its SVID at {left:?}, after its ban was acknowledged at {at:?}"));
        }
        if let Some(at) = evicted.and_then(|evicted| evicted.broken_at(since, left)) {
            self.broken("L6", &format!("{id} renewed its SVID at {left:?}, after it was evicted at {at:?}"));
        }
    }

    /// Laws L6 and L7: what an agent that attested at `since` was given, when the server let it go.
    pub(super) fn issued(&self, since: Duration, entry: &str, left: Duration, leaf: &LeafFacts, issued: Issued) {
        let to = issued.to.clone();
        let (parent, stands, banned, evicted) = {
            let mut known = self.known();
            known.issued.push(issued);
            let entry = known.entries.get(entry).cloned();
            let stands = entry.as_ref().map(|entry| entry.stands.clone());
            let evicted = known.evicted.get(&to).copied();
            (entry.map(|entry| entry.parent), stands, known.banned.get(&to).copied(), evicted)
        };
        if parent.as_deref().is_some_and(|parent| parent != to) {
            self.broken("L6", &format!("{to} was given entry {entry}, which is {parent:?}'s"));
        }
        if let Some(Stands::Deleted(at)) = stands.filter(|stands| matches!(stands, Stands::Deleted(at) if left > *at)) {
            self.broken(
                "L6",
                &format!("{entry} was issued at {left:?}, after its deletion was acknowledged at {at:?}"),
            );
        }
        if let Some(at) = banned.filter(|at| left > *at) {
            self.broken("L6", &format!("{to} was given an SVID at {left:?}, after its ban was acknowledged at {at:?}"));
        }
        if let Some(at) = evicted.and_then(|evicted| evicted.broken_at(since, left)) {
            self.broken("L6", &format!("{to} was given an SVID at {left:?}, after it was evicted at {at:?}"));
        }
        let life = leaf.not_after.seconds_since(leaf.not_before);
        // Not before is a little earlier, for clocks that are behind.
        if life > 900 + 120 {
            self.broken("L7", &format!("an SVID of {entry} lives {life} s"));
        }
    }
}
