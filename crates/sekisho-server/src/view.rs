//! What the server knows at one revision, in memory: fed by committed batches, read without locks held long.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use sekisho_identity::{AgentKey, Bundle, Entry, Node, Revocation, Revocations};
use sekisho_store::{Change, Past, PolicyRecord, Snapshot};
use sekisho_types::{EntryId, Revision, SpiffeId, UnixTime};

use crate::concerned::Concerned;
use crate::entry_index::{EntryIndex, Identity, Parent};
use crate::expiry_index::ExpiryIndex;
use crate::recent::{Generation, Recent};

pub(crate) struct State {
    pub revision: Revision,
    /// The newest revision that concerns every agent: it changed the policy or revoked something. Agents serve no SVID
    /// that was issued later before they have applied it (decisions/0056). What is older than this run counts as well:
    /// streams start again with it.
    pub required: Revision,
    /// While this stays, what was judged by the state stays judged, but for what ends with time.
    pub generation: Generation,
    pub entries: BTreeMap<EntryId, Arc<Entry>>,
    by_parent: EntryIndex<Parent>,
    by_spiffe_id: EntryIndex<Identity>,
    /// Parents that are neither agents nor the server: few, while agents may be many.
    inner_parents: BTreeSet<SpiffeId>,
    /// Entries that make their holder an operator.
    admins: BTreeMap<EntryId, Arc<Entry>>,
    pub nodes: BTreeMap<SpiffeId, Arc<Node>>,
    pub bundle: Arc<Bundle>,
    pub policy: Option<Arc<PolicyRecord>>,
    pub revocations: Arc<Revocations>,
    pub recent: Recent,
    pub expiries: ExpiryIndex,
}

pub(crate) struct View(RwLock<State>);

impl View {
    /// Nothing yet but a bundle.
    pub(crate) fn new(bundle: Bundle) -> Self {
        Self(RwLock::new(State {
            revision: Revision::default(),
            required: Revision::default(),
            generation: Generation::default(),
            entries: BTreeMap::new(),
            by_parent: EntryIndex::default(),
            by_spiffe_id: EntryIndex::default(),
            inner_parents: BTreeSet::new(),
            admins: BTreeMap::new(),
            nodes: BTreeMap::new(),
            bundle: Arc::new(bundle),
            policy: None,
            revocations: Arc::default(),
            recent: Recent::default(),
            expiries: ExpiryIndex::default(),
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

    /// Takes the state as it is stored, and what is stored of its past, in place of what was there.
    pub(crate) fn fill(&self, snapshot: Snapshot, past: Past) {
        let Snapshot { revision, entries, nodes, policy, revocations } = snapshot;
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.set_entries(entries);
        state.nodes.extend(nodes.into_iter().map(|node| (node.id.clone(), node)));
        state.policy = policy;
        revocations.iter().for_each(|revocation| state.revoke(revocation));
        (state.revision, state.required) = (revision, revision);
        state.generation.0 += 1;
        state.recent = Recent::of(past, state.generation);
    }

    /// Applies a committed batch. Whom it concerns is the caller's to wake.
    pub(crate) fn apply(&self, revision: Option<Revision>, changes: &[Change]) -> Concerned {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.revision = revision.unwrap_or(state.revision);
        state.generation.0 += 1;
        let (generation, mut concerned) = (state.generation, Concerned::default());
        for change in changes {
            match change {
                Change::Entry(entry) => state.change(&entry.id, Some(entry), &mut concerned),
                Change::EntryRemoved(id) => state.change(id, None, &mut concerned),
                Change::Node(node) => {
                    state.nodes.insert(node.id.clone(), node.clone());
                    concerned.agents.insert(node.id.clone());
                }
                Change::NodeRemoved(id) => {
                    state.nodes.remove(id);
                    concerned.agents.insert(id.clone());
                }
                Change::Revoked(revocation) => {
                    state.revoke(revocation);
                    state.recent.revoked(revocation, generation);
                    concerned.all = true;
                }
                Change::Policy(policy) => {
                    state.policy = Some(policy.clone());
                    concerned.all = true;
                }
                // The bundle follows when the keys are at hand.
                Change::Authorities => {}
            }
        }
        if concerned.all {
            state.required = state.revision;
        }
        concerned
    }

    /// Lets entries go whose end has passed. They stay in the state; agents have them no more.
    pub(crate) fn end(&self, now: UnixTime) -> Concerned {
        let mut concerned = Concerned::default();
        if self.read(|state| !state.expiries.is_set_back(now) && state.expiries.next().is_none_or(|end| end > now)) {
            return concerned;
        }
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.generation.0 += 1;
        let at = (state.generation, state.revision);
        if state.expiries.is_set_back(now) {
            // Entries that had expired are valid again: agents without them are sent everything.
            state.expiries.begin_again(state.entries.values().map(AsRef::as_ref));
            state.recent.forget_all(at);
            state.recent.moved(state.generation);
            concerned.all = true;
        }
        for id in state.expiries.take(now) {
            let Some(entry) = state.entries.get(&id).cloned() else { continue };
            let gives = state.inner_parents.contains(&entry.spiffe_id);
            state.note(&entry, gives, &mut concerned);
        }
        concerned
    }
}

impl State {
    /// All entries, in the order of their ids. Two indexes are built at once: a start waits for them.
    fn set_entries(&mut self, entries: Vec<Arc<Entry>>) {
        let by_parent = std::thread::scope(|scope| {
            let by_parent = scope.spawn(|| EntryIndex::all(&entries));
            self.by_spiffe_id = EntryIndex::all(&entries);
            by_parent.join()
        });
        self.by_parent = by_parent.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.inner_parents = self.by_parent.ids().filter(|id| is_inner(id)).cloned().collect();
        let with_id = |entry: Arc<Entry>| (entry.id.clone(), entry);
        entries.iter().for_each(|entry| self.expiries.put(entry));
        self.admins = entries.iter().filter(|entry| entry.admin).cloned().map(with_id).collect();
        self.entries = entries.into_iter().map(with_id).collect();
    }

    /// Changes or removes an entry, and notes whom that concerns.
    fn change(&mut self, id: &EntryId, after: Option<&Arc<Entry>>, concerned: &mut Concerned) {
        let before = self.entries.get(id).cloned();
        let versions = || before.iter().chain(after);
        let is_inner = |state: &Self, id: &SpiffeId| state.inner_parents.contains(id);
        let was: Vec<(bool, bool)> =
            versions().map(|entry| (is_inner(self, &entry.parent_id), is_inner(self, &entry.spiffe_id))).collect();
        match after {
            Some(entry) => self.put(entry.clone()),
            None => self.remove(id),
        }
        for (entry, (parent_was_inner, gave)) in versions().zip(was) {
            self.note(entry, gave || is_inner(self, &entry.spiffe_id), concerned);
            if parent_was_inner != is_inner(self, &entry.parent_id) {
                // Those who serve an entry that gives this parent begin to serve it, or cease.
                self.recent.moved(self.generation);
                concerned
                    .parents
                    .extend(self.by_spiffe_id.of(&entry.parent_id, None).map(|giver| giver.parent_id.clone()));
            }
        }
    }

    /// Notes that an entry as it is or was has changed. `gives` says whether other entries have its SPIFFE ID as
    /// parent.
    fn note(&mut self, entry: &Arc<Entry>, gives: bool, concerned: &mut Concerned) {
        self.recent.changed(&entry.parent_id, &entry.id, (self.generation, self.revision));
        if concerned.note(entry) || gives {
            self.recent.moved(self.generation);
        }
    }

    fn revoke(&mut self, revocation: &Arc<Revocation>) {
        let revocations = Arc::make_mut(&mut self.revocations);
        revocations.prune(revocation.at);
        revocations.add((**revocation).clone());
    }

    fn put(&mut self, entry: Arc<Entry>) {
        self.remove(&entry.id);
        self.by_parent.put(entry.clone());
        if is_inner(&entry.parent_id) {
            self.inner_parents.insert(entry.parent_id.clone());
        }
        if entry.admin {
            self.admins.insert(entry.id.clone(), entry.clone());
        }
        self.by_spiffe_id.put(entry.clone());
        self.expiries.put(&entry);
        self.entries.insert(entry.id.clone(), entry);
    }

    /// The entry by which the holder of `id` may administer.
    pub(crate) fn admin_entry(&self, id: &SpiffeId, now: UnixTime) -> Option<&Arc<Entry>> {
        self.admins.values().find(|entry| entry.spiffe_id == *id && !entry.is_expired(now))
    }

    /// The agent with this key that asked for an SVID of `entry`: its parent most often, or one that serves the parent.
    pub(crate) fn agent_of(&self, key: AgentKey, entry: &Entry) -> Option<SpiffeId> {
        std::iter::once(&entry.parent_id).chain(self.nodes.keys()).find(|id| AgentKey::of(id) == key).cloned()
    }

    fn remove(&mut self, id: &EntryId) {
        self.admins.remove(id);
        let Some(old) = self.entries.remove(id) else { return };
        self.by_spiffe_id.remove(&old);
        self.expiries.remove(&old);
        self.by_parent.remove(&old);
        if self.children(&old.parent_id).next().is_none() {
            self.inner_parents.remove(&old.parent_id);
        }
    }

    /// Entries in the order of their ids, behind `after`: all, or those with a SPIFFE ID or a parent. Looks at no
    /// others, unless both are given: then at those with the SPIFFE ID.
    pub(crate) fn list<'a>(
        &'a self,
        spiffe_id: Option<&SpiffeId>,
        parent_id: Option<&SpiffeId>,
        after: Option<&EntryId>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Entry>> + 'a> {
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let parent = parent_id.cloned();
        match (spiffe_id, parent_id) {
            (Some(id), _) => {
                let found = self.by_spiffe_id.of(id, after);
                Box::new(found.filter(move |entry| parent.as_ref().is_none_or(|parent| entry.parent_id == *parent)))
            }
            (None, Some(parent)) => Box::new(self.by_parent.of(parent, after)),
            (None, None) => Box::new(self.entries.range::<EntryId, _>(behind).map(|(_, entry)| entry)),
        }
    }

    /// The entries that give `id`.
    pub(crate) fn entries_of<'a>(&'a self, id: &SpiffeId) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        self.by_spiffe_id.of(id, None)
    }

    /// The entries whose parent is `id`.
    pub(crate) fn children<'a>(&'a self, id: &SpiffeId) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        self.by_parent.of(id, None)
    }

    /// The entry, with the parent's ID in the copy that its other children have.
    pub(crate) fn with_shared_parent(&self, entry: Entry) -> Entry {
        match self.children(&entry.parent_id).next() {
            Some(sibling) => Entry { parent_id: sibling.parent_id.clone(), ..entry },
            None => entry,
        }
    }

    /// The IDs for which this agent serves entries: its own, those of its aliases, and, as with SPIRE, those of entries
    /// that it serves.
    pub(crate) fn serves(&self, node: &Node, server: &SpiffeId, now: UnixTime) -> BTreeSet<SpiffeId> {
        let mut served = node.serves(self.children(server).map(AsRef::as_ref), server, now);
        let mut open: Vec<&SpiffeId> = self.inner_parents.iter().filter(|id| !served.contains(*id)).collect();
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
        self.live(&self.serves(node, server, now), now).cloned().collect()
    }

    /// The entries with these parents that have not expired.
    pub(crate) fn live<'a>(
        &'a self,
        parents: &'a BTreeSet<SpiffeId>,
        now: UnixTime,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        parents.iter().flat_map(|parent| self.children(parent)).filter(move |entry| !entry.is_expired(now))
    }
}

fn is_inner(parent: &SpiffeId) -> bool {
    !parent.path().starts_with("/spire/")
}

#[cfg(test)]
mod tests;
