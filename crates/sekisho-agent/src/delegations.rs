//! Which sidecar speaks for which identity.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sekisho_types::SpiffeId;

/// One stream of a sidecar; later ones have higher numbers.
pub(crate) type Stream = u64;

/// Identities that are delegated now, by the sidecar's process number.
#[derive(Default)]
pub(crate) struct Delegations(Mutex<State>);

#[derive(Default)]
struct State {
    opened: Stream,
    by_sidecar: BTreeMap<i32, (Stream, SpiffeId)>,
}

impl Delegations {
    /// A number for a new stream.
    pub(crate) fn open(&self) -> Stream {
        let mut state = self.lock();
        state.opened += 1;
        state.opened
    }

    pub(crate) fn put(&self, sidecar: i32, stream: Stream, id: SpiffeId) {
        let mut state = self.lock();
        // A stream that a newer one has replaced changes nothing any more.
        if state.by_sidecar.get(&sidecar).is_none_or(|(latest, _)| *latest <= stream) {
            state.by_sidecar.insert(sidecar, (stream, id));
        }
    }

    pub(crate) fn of(&self, sidecar: i32) -> Option<SpiffeId> {
        self.lock().by_sidecar.get(&sidecar).map(|(_, id)| id.clone())
    }

    /// Ends a stream. Returns its identity if no sidecar speaks for it any more.
    pub(crate) fn end(&self, sidecar: i32, stream: Stream) -> Option<SpiffeId> {
        let mut state = self.lock();
        state.by_sidecar.get(&sidecar).filter(|(latest, _)| *latest == stream)?;
        let (_, id) = state.by_sidecar.remove(&sidecar)?;
        (!state.by_sidecar.values().any(|(_, other)| *other == id)).then_some(id)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_ends_late_takes_nothing_from_its_successor() {
        let id = |path: &str| SpiffeId::parse(&format!("spiffe://td.example{path}")).unwrap();
        let delegations = Delegations::default();
        let (old, new) = (delegations.open(), delegations.open());
        delegations.put(7, old, id("/a"));
        delegations.put(7, new, id("/b"));
        delegations.put(7, old, id("/a"));
        assert_eq!(delegations.end(7, old), None);
        assert_eq!(delegations.of(7), Some(id("/b")));
        let other = delegations.open();
        delegations.put(8, other, id("/b"));
        assert_eq!(delegations.end(7, new), None, "another sidecar speaks for it");
        assert_eq!(delegations.end(8, other), Some(id("/b")));
        assert_eq!(delegations.of(8), None);
    }
}
