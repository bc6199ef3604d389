//! What the server knows at one revision, in memory: fed by committed batches, read without locks held long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use sekisho_identity::{Bundle, Entry, Node};
use sekisho_store::{Change, PolicyRecord};
use sekisho_types::{EntryId, Revision, SpiffeId, UnixTime};

/// Counts each change of the view, whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

pub(crate) struct State {
    pub revision: Revision,
    /// While this stays, what was judged by the state stays judged, but for what ends with time.
    pub generation: Generation,
    pub entries: BTreeMap<EntryId, Arc<Entry>>,
    by_parent: BTreeMap<SpiffeId, BTreeSet<EntryId>>,
    by_identity: BTreeMap<SpiffeId, BTreeSet<EntryId>>,
    /// Entries that make their holder an operator.
    admins: BTreeMap<EntryId, Arc<Entry>>,
    pub nodes: BTreeMap<SpiffeId, Arc<Node>>,
    pub bundle: Arc<Bundle>,
    pub policy: Option<Arc<PolicyRecord>>,
}

pub(crate) struct View(RwLock<State>);

impl View {
    /// Nothing yet but a bundle.
    pub(crate) fn new(bundle: Bundle) -> Self {
        Self(RwLock::new(State {
            revision: Revision::default(),
            generation: Generation(0),
            entries: BTreeMap::new(),
            by_parent: BTreeMap::new(),
            by_identity: BTreeMap::new(),
            admins: BTreeMap::new(),
            nodes: BTreeMap::new(),
            bundle: Arc::new(bundle),
            policy: None,
        }))
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_bundle(&self, bundle: Bundle) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.bundle = Arc::new(bundle);
        state.generation.0 += 1;
    }

    /// Applies a committed batch.
    pub(crate) fn apply(&self, revision: Option<Revision>, changes: &[Change]) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                Change::Entry(entry) => state.put(entry.clone()),
                Change::EntryRemoved(id) => state.remove(id),
                Change::Node(node) => {
                    state.nodes.insert(node.id.clone(), Arc::new((**node).clone()));
                }
                Change::NodeRemoved(id) => {
                    state.nodes.remove(id);
                }
                Change::Policy(policy) => state.policy = Some(policy.clone()),
                // The bundle follows when the keys are at hand.
                Change::Authorities => {}
            }
        }
        state.revision = revision.unwrap_or(state.revision);
        state.generation.0 += 1;
    }
}

impl State {
    fn put(&mut self, entry: Arc<Entry>) {
        self.remove(&entry.id);
        self.by_parent.entry(entry.parent_id.clone()).or_default().insert(entry.id.clone());
        self.by_identity.entry(entry.spiffe_id.clone()).or_default().insert(entry.id.clone());
        if entry.admin {
            self.admins.insert(entry.id.clone(), entry.clone());
        }
        self.entries.insert(entry.id.clone(), entry);
    }

    /// Whether the holder of `id` may administer.
    pub(crate) fn is_admin(&self, id: &SpiffeId, now: UnixTime) -> bool {
        self.admins.values().any(|entry| entry.spiffe_id == *id && !entry.is_expired(now))
    }

    fn remove(&mut self, id: &EntryId) {
        self.admins.remove(id);
        if let Some(old) = self.entries.remove(id) {
            drop_from(&mut self.by_parent, &old.parent_id, id);
            drop_from(&mut self.by_identity, &old.spiffe_id, id);
        }
    }

    /// The entries that give `id`.
    pub(crate) fn entries_of(&self, id: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_identity.get(id).into_iter().flatten().filter_map(|id| self.entries.get(id))
    }

    /// The entries whose parent is `id`.
    pub(crate) fn children(&self, id: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_parent.get(id).into_iter().flatten().filter_map(|id| self.entries.get(id))
    }

    /// The IDs for which this agent serves entries: its own, those of its aliases, and, as with SPIRE, those of entries that it
    /// serves.
    pub(crate) fn serves(&self, node: &Node, server: &SpiffeId, now: UnixTime) -> BTreeSet<SpiffeId> {
        let mut served = node.serves(self.children(server).map(AsRef::as_ref), server, now);
        // Parents that are neither agents nor the server are few, while an agent may have many entries.
        let parents = self.by_parent.keys().filter(|id| !id.path().starts_with("/spire/"));
        let mut open: Vec<&SpiffeId> = parents.filter(|id| !served.contains(*id)).collect();
        loop {
            let before = open.len();
            open.retain(|id| {
                let mut entries = self.entries_of(id);
                let serves = entries.any(|entry| served.contains(&entry.parent_id) && !entry.is_expired(now));
                if serves {
                    served.insert((*id).clone());
                }
                !serves
            });
            if open.len() == before {
                return served;
            }
        }
    }

    /// The entries that this agent may serve now.
    pub(crate) fn authorized(&self, node: &Node, server: &SpiffeId, now: UnixTime) -> Vec<Arc<Entry>> {
        let parents = self.serves(node, server, now);
        let entries = parents.iter().flat_map(|parent| self.children(parent));
        entries.filter(|entry| !entry.is_expired(now)).cloned().collect()
    }
}

fn drop_from(index: &mut BTreeMap<SpiffeId, BTreeSet<EntryId>>, key: &SpiffeId, id: &EntryId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
