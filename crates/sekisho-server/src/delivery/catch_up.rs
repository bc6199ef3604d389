//! What an agent lacks: the difference between what it holds by its cursor and what it may have now. A function of the
//! state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sekisho_identity::{Bundle, Entry, Revocation, held_digest};
use sekisho_store::{Epoch, PolicyRecord};
use sekisho_types::{Digest, EntryId, Revision, SpiffeId, UnixTime};

use crate::recent::Since;
use crate::view::State;

/// What an agent holds.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    pub since: Since,
    /// All entries with these parents, as they were.
    pub parents: Arc<BTreeSet<SpiffeId>>,
    pub bundle_sequence: Option<u64>,
    pub policy_revision: u64,
}

/// What it is sent.
pub(super) struct Update {
    pub revision: Revision,
    pub entries: EntriesUpdate,
    pub bundle: Option<Arc<Bundle>>,
    pub policy: Option<Arc<PolicyRecord>>,
    pub revocations: Vec<Arc<Revocation>>,
    /// If the agent gets a position of another history.
    pub epoch: Option<Epoch>,
    /// For an agent that came back with a position: what it holds then.
    pub held: Option<Digest>,
}

#[derive(Default)]
pub(super) struct EntriesUpdate {
    /// Those that are not listed are gone.
    pub complete: bool,
    pub put: Vec<Arc<Entry>>,
    pub removed: BTreeSet<EntryId>,
    /// With all their entries, but for those that are listed.
    pub removed_parents: Vec<SpiffeId>,
}

impl Update {
    /// What an agent that serves these parents lacks, and what it holds with that.
    pub(super) fn of(
        state: &State,
        cursor: Option<&Cursor>,
        serves: &Arc<BTreeSet<SpiffeId>>,
        now: UnixTime,
    ) -> (Self, Cursor) {
        let cursor = cursor.filter(|cursor| state.recent.reaches(cursor.since));
        let comes_back = cursor.is_some_and(|cursor| matches!(cursor.since, Since::Revision(_)));
        let sequence = state.bundle.sequence;
        let policy = state.policy.as_ref();
        let update = Self {
            revision: state.revision,
            entries: cursor.map_or_else(|| whole(state, serves, now), |cursor| since(state, cursor, serves, now)),
            bundle: cursor.is_none_or(|cursor| cursor.bundle_sequence != sequence).then(|| state.bundle.clone()),
            policy: policy
                .filter(|policy| cursor.is_none_or(|cursor| cursor.policy_revision != policy.revision))
                .cloned(),
            revocations: revocations(state, cursor.map(|cursor| cursor.since)),
            epoch: (comes_back || cursor.is_none()).then(|| state.recent.epoch()).flatten(),
            held: comes_back.then(|| held_digest(state.live(serves, now).map(AsRef::as_ref))),
        };
        let cursor = Cursor {
            since: Since::Generation(state.generation),
            parents: serves.clone(),
            bundle_sequence: sequence,
            policy_revision: policy.map_or(0, |policy| policy.revision),
        };
        (update, cursor)
    }

    /// Whether there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        let EntriesUpdate { complete, put, removed, removed_parents } = &self.entries;
        let no_entries = !complete && put.is_empty() && removed.is_empty() && removed_parents.is_empty();
        no_entries
            && self.bundle.is_none()
            && self.policy.is_none()
            && self.revocations.is_empty()
            && self.held.is_none()
    }
}

fn whole(state: &State, serves: &BTreeSet<SpiffeId>, now: UnixTime) -> EntriesUpdate {
    EntriesUpdate { complete: true, put: state.live(serves, now).cloned().collect(), ..EntriesUpdate::default() }
}

fn since(state: &State, cursor: &Cursor, serves: &BTreeSet<SpiffeId>, now: UnixTime) -> EntriesUpdate {
    let (mut put, mut removed) = (BTreeMap::new(), BTreeSet::new());
    for parent in serves {
        if !cursor.parents.contains(parent) {
            let live = state.children(parent).filter(|entry| !entry.is_expired(now));
            put.extend(live.map(|entry| (&entry.id, entry.clone())));
            continue;
        }
        for id in state.recent.under(parent, cursor.since) {
            let entry = state.entries.get(id);
            match entry.filter(|entry| serves.contains(&entry.parent_id) && !entry.is_expired(now)) {
                Some(entry) => drop(put.insert(&entry.id, entry.clone())),
                None => drop(removed.insert(id.clone())),
            }
        }
        // An expiry does not change the state, so the history of revisions does not name it.
        if matches!(cursor.since, Since::Revision(_)) {
            removed.extend(state.children(parent).filter(|entry| entry.is_expired(now)).map(|entry| entry.id.clone()));
        }
    }
    let removed_parents = cursor.parents.difference(serves).cloned().collect();
    EntriesUpdate { complete: false, put: put.into_values().collect(), removed, removed_parents }
}

fn revocations(state: &State, since: Option<Since>) -> Vec<Arc<Revocation>> {
    let beyond = match since {
        Some(Since::Generation(generation)) => match state.recent.revocations(generation) {
            Some(recent) => return recent.cloned().collect(),
            None => Revision::default(),
        },
        Some(Since::Revision(revision)) => revision,
        None => Revision::default(),
    };
    let all = state.revocations.iter().filter(|revocation| revocation.revision > beyond);
    all.map(|revocation| Arc::new(revocation.clone())).collect()
}
