//! Which sidecar speaks for which identity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sekisho_types::{Digest, SpiffeId};
use tokio::sync::watch;

use crate::delegated_key::DelegatedKey;
use crate::svid::KeyId;

/// One stream of a sidecar; later ones have higher numbers.
pub(crate) type Stream = u64;

/// Identities that are delegated now, by the sidecar's process number; and who may be a sidecar.
#[derive(Default)]
pub(crate) struct Delegations {
    sidecars: BTreeSet<Digest>,
    state: Mutex<State>,
    /// Rings when a sidecar reports what it runs.
    pub reported: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    opened: Stream,
    by_sidecar: BTreeMap<i32, (Stream, SpiffeId)>,
    /// The newest revision of the revocations that a sidecar has applied, by its process number.
    applied: BTreeMap<i32, (Stream, u64)>,
    /// The policy revision that each sidecar reported: two may speak for one identity.
    policies: BTreeMap<i32, u64>,
    /// Keys in the TPM with which a sidecar may sign, by its process number: that of its SVID, and the one before, with
    /// which a handshake may have begun.
    keys: BTreeMap<i32, Vec<(Stream, Arc<DelegatedKey>)>>,
}

/// The newest key and the one before.
const KEYS: usize = 2;

impl Delegations {
    pub(crate) fn to(sidecars: BTreeSet<Digest>) -> Self {
        Self { sidecars, ..Self::default() }
    }

    /// Whether an executable may act as a sidecar.
    pub(crate) fn may_be_sidecar(&self, executable: &Digest) -> bool {
        self.sidecars.contains(executable)
    }

    /// Rings for those who pass on what sidecars report.
    pub(crate) fn ring(&self) {
        self.reported.send_modify(|count| *count += 1);
    }

    /// A number for a new stream.
    pub(crate) fn open(&self) -> Stream {
        let mut state = self.lock();
        state.opened += 1;
        state.opened
    }

    /// Whether it is the first identity of the stream.
    pub(crate) fn put(&self, sidecar: i32, stream: Stream, id: SpiffeId) -> bool {
        let mut state = self.lock();
        // A stream that a newer one has replaced changes nothing any more.
        if state.by_sidecar.get(&sidecar).is_some_and(|(latest, _)| *latest > stream) {
            return false;
        }
        let before = state.by_sidecar.insert(sidecar, (stream, id.clone()));
        if before.as_ref().is_some_and(|(_, before)| *before != id) {
            state.policies.remove(&sidecar);
        }
        before.is_none_or(|(before, _)| before != stream)
    }

    /// Lets a sidecar sign with a key, as long as this stream is its newest one.
    pub(crate) fn put_key(&self, sidecar: i32, stream: Stream, key: Arc<DelegatedKey>) {
        let mut state = self.lock();
        if state.by_sidecar.get(&sidecar).is_none_or(|(latest, _)| *latest != stream) {
            return;
        }
        let keys = state.keys.entry(sidecar).or_default();
        keys.retain(|(of, known)| *of == stream && known.id != key.id);
        keys.push((stream, key));
        keys.drain(..keys.len().saturating_sub(KEYS));
    }

    /// The key of this name with which a sidecar may sign.
    pub(crate) fn key(&self, sidecar: i32, id: &KeyId) -> Option<Arc<DelegatedKey>> {
        let state = self.lock();
        let (latest, _) = state.by_sidecar.get(&sidecar)?;
        let found = state.keys.get(&sidecar)?.iter().find(|(stream, key)| stream == latest && key.id == *id);
        found.map(|(_, key)| key.clone())
    }

    /// A sidecar has applied revocations up to this revision. False if that is not new.
    pub(crate) fn put_applied(&self, sidecar: i32, stream: Stream, revision: u64) -> bool {
        let mut state = self.lock();
        if state.applied.get(&sidecar).is_some_and(|(latest, _)| *latest > stream) {
            return false;
        }
        state.applied.insert(sidecar, (stream, revision)) != Some((stream, revision))
    }

    /// Ends a stream of revocations.
    pub(crate) fn end_applied(&self, sidecar: i32, stream: Stream) {
        let mut state = self.lock();
        if state.applied.get(&sidecar).is_some_and(|(latest, _)| *latest == stream) {
            state.applied.remove(&sidecar);
        }
    }

    /// Up to which revision all sidecars of an identity have applied revocations; zero if one has not reported.
    pub(crate) fn applied(&self) -> BTreeMap<String, u64> {
        let state = self.lock();
        let mut least = BTreeMap::<String, u64>::new();
        for (sidecar, (_, id)) in &state.by_sidecar {
            let revision = state.applied.get(sidecar).map_or(0, |(_, revision)| *revision);
            let lowest_of_id = least.entry(id.to_string()).or_insert(revision);
            *lowest_of_id = revision.min(*lowest_of_id);
        }
        least
    }

    /// Remembers which policy revision a sidecar runs, if it still speaks for `id`.
    pub(crate) fn reports(&self, sidecar: i32, id: &str, revision: u64) -> bool {
        let mut state = self.lock();
        let speaks = state.by_sidecar.get(&sidecar).is_some_and(|(_, other)| other.to_string() == id);
        if speaks {
            state.policies.insert(sidecar, revision);
        }
        speaks
    }

    /// The policy revision in force for each identity: the lowest that one of its sidecars runs, so that none hides
    /// another that is behind (law L15).
    pub(crate) fn policy_in_force(&self) -> BTreeMap<String, u64> {
        let state = self.lock();
        let mut lowest = BTreeMap::new();
        for (sidecar, revision) in &state.policies {
            let Some((_, id)) = state.by_sidecar.get(sidecar) else { continue };
            let lowest_of_id = lowest.entry(id.to_string()).or_insert(*revision);
            *lowest_of_id = (*lowest_of_id).min(*revision);
        }
        lowest
    }

    pub(crate) fn of(&self, sidecar: i32) -> Option<SpiffeId> {
        self.lock().by_sidecar.get(&sidecar).map(|(_, id)| id.clone())
    }

    /// Ends a stream, and with it what its sidecar reported, unless a newer stream has replaced it.
    pub(crate) fn end(&self, sidecar: i32, stream: Stream) -> bool {
        let mut state = self.lock();
        let latest = state.by_sidecar.get(&sidecar).is_some_and(|(latest, _)| *latest == stream);
        if latest {
            state.by_sidecar.remove(&sidecar);
            state.policies.remove(&sidecar);
            state.keys.remove(&sidecar);
        }
        latest
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_applied_revision_of_sidecars_is_reported() {
        let id = |path: &str| SpiffeId::parse(&format!("spiffe://td.example{path}")).unwrap();
        let delegations = Delegations::default();
        let [one, other, feed, late] = std::array::from_fn(|_| delegations.open());
        assert!(delegations.put(7, one, id("/a")) && !delegations.put(7, one, id("/a")));
        delegations.put(8, other, id("/a"));
        assert!(delegations.put_applied(7, feed, 5) && !delegations.put_applied(7, feed, 5));
        assert_eq!(delegations.applied()["spiffe://td.example/a"], 0, "the other has applied none");
        delegations.put_applied(8, feed, 3);
        assert_eq!(delegations.applied()["spiffe://td.example/a"], 3);
        // The sidecar asked again before its first stream was seen to end.
        delegations.put_applied(8, late, 6);
        delegations.end_applied(8, feed);
        assert_eq!(delegations.applied()["spiffe://td.example/a"], 5);
        delegations.end(7, one);
        assert_eq!(delegations.applied()["spiffe://td.example/a"], 6);
    }

    #[test]
    fn a_late_end_leaves_the_next_stream_alone() {
        let id = |path: &str| SpiffeId::parse(&format!("spiffe://td.example{path}")).unwrap();
        let delegations = Delegations::default();
        let (old, new) = (delegations.open(), delegations.open());
        delegations.put(7, old, id("/a"));
        delegations.put(7, new, id("/b"));
        delegations.put(7, old, id("/a"));
        assert!(!delegations.end(7, old));
        assert_eq!(delegations.of(7), Some(id("/b")));
        let other = delegations.open();
        delegations.put(8, other, id("/b"));
        assert!(delegations.end(7, new) && delegations.end(8, other));
        assert_eq!(delegations.of(8), None);
    }

    #[test]
    fn law_l15_a_sidecar_that_is_behind_is_not_hidden() {
        let id = SpiffeId::parse("spiffe://td.example/a").unwrap();
        let (delegations, text) = (Delegations::default(), id.to_string());
        let in_force = |delegations: &Delegations| delegations.policy_in_force().get(&text).copied();
        let (one, other) = (delegations.open(), delegations.open());
        delegations.put(7, one, id.clone());
        delegations.put(8, other, id);
        assert!(delegations.reports(8, &text, 3) && delegations.reports(7, &text, 5));
        assert_eq!(in_force(&delegations), Some(3));
        assert!(!delegations.reports(9, &text, 1), "nothing is delegated to it");
        assert!(delegations.end(8, other));
        assert_eq!(in_force(&delegations), Some(5), "what it reported ends with it");
        assert!(delegations.end(7, one));
        assert_eq!(in_force(&delegations), None);
    }
}
