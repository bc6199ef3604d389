//! The newest state that the server sent. It is valid until the server sends another one (law L14).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use sekisho_identity::{Bundle, Entry, Revocations};
use sekisho_proto::server as wire;
use sekisho_types::{EntryId, SelectorSet, UnixTime};
use tokio::sync::watch;

/// A revision that was applied, and the history that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub epoch: Vec<u8>,
    pub revision: u64,
}

/// State that comes from the server.
#[derive(Clone)]
pub(crate) struct ServerState {
    /// The highest that a server has shown.
    pub revision: u64,
    /// From where the server goes on; `None` if it must begin with everything.
    pub position: Option<Position>,
    pub entries: BTreeMap<EntryId, Arc<Entry>>,
    pub bundle: Arc<Bundle>,
    pub policy: Option<wire::Policy>,
    /// `None` until the server has sent them.
    pub revocations: Option<Arc<Revocations>>,
}

/// The state that all parts of the agent share. It notifies them when it changes.
pub(crate) struct SharedServerState {
    state: RwLock<ServerState>,
    changed: watch::Sender<u64>,
    /// Whether sidecars may rely on policy and revocations: the server sent what is in force in this run, or it cannot
    /// be reached.
    pub settled: watch::Sender<bool>,
    /// The newest revision that an SVID of the server has required.
    pub required: watch::Sender<u64>,
    /// The newest revision whose policy and revocations are on disk: a restart without the server goes on from it.
    kept: watch::Sender<u64>,
    /// Counts the messages of the server's stream.
    pub messages: watch::Sender<u64>,
}

impl SharedServerState {
    pub(crate) fn new(known: ServerState) -> Self {
        let [changed, required, messages] = std::array::from_fn(|_| watch::channel(0).0);
        let kept = watch::channel(known.revision).0;
        Self { state: RwLock::new(known), changed, settled: watch::channel(false).0, required, kept, messages }
    }

    /// An SVID of the server requires this revision.
    pub(crate) fn require(&self, revision: u64) {
        self.required.send_if_modified(|required| {
            let is_newer = revision > *required;
            *required = revision.max(*required);
            is_newer
        });
    }

    /// Policy and revocations of this revision are on disk.
    pub(crate) fn keep(&self, revision: u64) {
        self.kept.send_if_modified(|kept| {
            let is_newer = revision > *kept;
            *kept = revision.max(*kept);
            is_newer
        });
    }

    /// Whether policy and revocations of this revision are on disk.
    pub(crate) fn keeps(&self, revision: u64) -> bool {
        *self.kept.borrow() >= revision
    }

    pub(crate) fn kept(&self) -> watch::Receiver<u64> {
        self.kept.subscribe()
    }

    /// A message of the server's stream has come.
    pub(crate) fn heard(&self) {
        self.messages.send_modify(|count| *count += 1);
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&ServerState) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn bundle(&self) -> Arc<Bundle> {
        self.read(|state| state.bundle.clone())
    }

    pub(crate) fn revocations(&self) -> Option<Arc<Revocations>> {
        self.read(|state| state.revocations.clone())
    }

    /// Applies a change from the server and notifies.
    pub(crate) fn update(&self, change: impl FnOnce(&mut ServerState)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Of the newest message that was applied whole.
    pub(crate) fn position(&self) -> Option<wire::Position> {
        self.read(|state| {
            // Without revocations, those of before are missing as well.
            let position = state.position.as_ref().filter(|_| state.revocations.is_some())?;
            let parents: BTreeSet<String> = state.entries.values().map(|entry| entry.parent_id.to_string()).collect();
            Some(wire::Position {
                epoch: position.epoch.clone(),
                revision: position.revision,
                parent_ids: parents.into_iter().collect(),
                bundle_sequence: state.bundle.sequence.unwrap_or(0),
                policy_revision: state.policy.as_ref().map_or(0, |policy| policy.revision),
            })
        })
    }

    /// The entries that a process with these selectors matches.
    pub(crate) fn matches(&self, selectors: &SelectorSet, now: UnixTime) -> Vec<Arc<Entry>> {
        self.read(|state| {
            let found = sekisho_identity::matches(state.entries.values().map(AsRef::as_ref), selectors, now);
            found.into_iter().filter_map(|entry| state.entries.get(&entry.id).cloned()).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use sekisho_types::{Selector, SpiffeId, TrustDomain};

    use super::*;

    #[test]
    fn what_is_learned_rings_and_is_matched_whole() {
        let bundle = Arc::new(Bundle::empty(TrustDomain::parse("td").unwrap()));
        let known = ServerState {
            revision: 0,
            position: None,
            entries: BTreeMap::new(),
            bundle,
            policy: None,
            revocations: None,
        };
        let (knowledge, now) = (SharedServerState::new(known), UnixTime::from_seconds(1_800_000_000));
        let selectors = |texts: &[&str]| texts.iter().map(|text| Selector::parse(text).unwrap()).collect();
        let (id, spiffe) = (EntryId::parse("e1").unwrap(), |path: &str| SpiffeId::parse(path).unwrap());
        let wanted = selectors(&["unix:uid:1", "systemd:unit:a.service"]);
        let entry = Entry::new(id.clone(), spiffe("spiffe://td/a"), spiffe("spiffe://td/spire/agent/x"), wanted);
        let mut changes = knowledge.changes();
        changes.mark_unchanged();
        knowledge.update(|state| drop(state.entries.insert(id, Arc::new(entry))));
        assert!(changes.has_changed().unwrap());
        let count = |texts: &[&str]| knowledge.matches(&selectors(texts), now).len();
        assert_eq!(count(&["unix:uid:1", "systemd:unit:a.service", "unix:gid:1"]), 1);
        assert_eq!((count(&["unix:uid:1"]), count(&["unix:uid:1", "systemd:unit:b.service"]), count(&[])), (0, 0, 0));
    }
}
