//! Entries by SPIFFE ID, without a copy of any: at a million entries neither a record nor a list looks at all of them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use sekisho_identity::Entry;
use sekisho_types::{EntryId, SpiffeId};

#[derive(Default)]
pub(crate) struct EntryIndex(BTreeSet<Indexed>);

struct Indexed(Arc<Entry>);

/// By what entries are ordered here, and where a search begins.
trait Key {
    fn key(&self) -> (&SpiffeId, &str);
}

impl Key for Indexed {
    fn key(&self) -> (&SpiffeId, &str) {
        (&self.0.spiffe_id, self.0.id.as_str())
    }
}

impl Key for (&SpiffeId, &str) {
    fn key(&self) -> (&SpiffeId, &str) {
        *self
    }
}

impl<'a> Borrow<dyn Key + 'a> for Indexed {
    fn borrow(&self) -> &(dyn Key + 'a) {
        self
    }
}

impl Ord for dyn Key + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for dyn Key + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for dyn Key + '_ {}

impl Ord for Indexed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Indexed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Indexed {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Indexed {}

impl EntryIndex {
    pub(crate) fn put(&mut self, entry: Arc<Entry>) {
        self.0.replace(Indexed(entry));
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        let key = (&entry.spiffe_id, entry.id.as_str());
        self.0.remove(&key as &dyn Key);
    }

    /// The entries that give a SPIFFE ID, by id, behind `after`.
    pub(crate) fn of<'a>(
        &'a self,
        id: &SpiffeId,
        after: Option<&EntryId>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        let begin = (id, after.map_or("", EntryId::as_str));
        let found = self.0.range::<dyn Key + '_, _>((Bound::Excluded(&begin as &dyn Key), Bound::Unbounded));
        let id = id.clone();
        found.map(|indexed| &indexed.0).take_while(move |entry| entry.spiffe_id == id)
    }
}
