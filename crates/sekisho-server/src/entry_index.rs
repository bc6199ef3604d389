//! Entries by one of their SPIFFE IDs, without a copy of any: at a million entries neither a record nor a list looks at
//! all of them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

use sekisho_identity::Entry;
use sekisho_types::{EntryId, SpiffeId};

/// By which SPIFFE ID an index finds entries.
pub(crate) trait IndexedBy {
    fn of(entry: &Entry) -> &SpiffeId;
}

/// By the identity that they give.
pub(crate) struct Identity;

/// By their parent.
pub(crate) struct Parent;

impl IndexedBy for Identity {
    fn of(entry: &Entry) -> &SpiffeId {
        &entry.spiffe_id
    }
}

impl IndexedBy for Parent {
    fn of(entry: &Entry) -> &SpiffeId {
        &entry.parent_id
    }
}

pub(crate) struct EntryIndex<B>(BTreeSet<Indexed<B>>);

impl<B> Default for EntryIndex<B> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

struct Indexed<B>(Arc<Entry>, PhantomData<B>);

/// By what entries are ordered here, and where a search begins.
trait Key {
    fn key(&self) -> (&SpiffeId, &str);
}

impl<B: IndexedBy> Key for Indexed<B> {
    fn key(&self) -> (&SpiffeId, &str) {
        (B::of(&self.0), self.0.id.as_str())
    }
}

impl Key for (&SpiffeId, &str) {
    fn key(&self) -> (&SpiffeId, &str) {
        *self
    }
}

impl<'a, B: IndexedBy + 'a> Borrow<dyn Key + 'a> for Indexed<B> {
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

impl<B: IndexedBy> Ord for Indexed<B> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<B: IndexedBy> PartialOrd for Indexed<B> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<B: IndexedBy> PartialEq for Indexed<B> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<B: IndexedBy> Eq for Indexed<B> {}

impl<B: IndexedBy> EntryIndex<B> {
    /// The index of all these. They come in the order of their ids.
    ///
    /// Comparing IDs behind pointers misses the processor's caches. So the bytes in which the IDs differ are put side
    /// by side, and sorted first.
    pub(crate) fn all(entries: &[Arc<Entry>]) -> Self {
        let texts = || entries.iter().map(|entry| B::of(entry).as_str());
        let first = texts().next().unwrap_or_default();
        let shared = texts().map(|text| shared_bytes(first, text)).min().unwrap_or_default();
        let keyed = entries.iter().map(|entry| (beginning(B::of(entry), shared), entry));
        let mut keyed: Vec<(u128, &Arc<Entry>)> = keyed.collect();
        keyed.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| B::of(a.1).cmp(B::of(b.1))));
        Self(keyed.into_iter().map(|(_, entry)| Indexed(entry.clone(), PhantomData)).collect())
    }

    pub(crate) fn put(&mut self, entry: Arc<Entry>) {
        self.0.replace(Indexed(entry, PhantomData));
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        let key = (B::of(entry), entry.id.as_str());
        self.0.remove(&key as &dyn Key);
    }

    /// The entries with a SPIFFE ID, by id, behind `after`.
    pub(crate) fn of<'a>(
        &'a self,
        id: &SpiffeId,
        after: Option<&EntryId>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a, B> {
        let begin = (id, after.map_or("", EntryId::as_str));
        let found = self.0.range::<dyn Key + '_, _>((Bound::Excluded(&begin as &dyn Key), Bound::Unbounded));
        let id = id.clone();
        found.map(|indexed| &indexed.0).take_while(move |entry| *B::of(entry) == id)
    }

    /// Each SPIFFE ID that an entry has.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &SpiffeId> {
        let mut last = None;
        self.0.iter().map(|indexed| B::of(&indexed.0)).filter(move |id| last.replace(*id) != Some(*id))
    }
}

fn shared_bytes(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Sixteen bytes of an ID, behind those that all share, as a number that is ordered as they are.
fn beginning(id: &SpiffeId, shared: usize) -> u128 {
    let bytes = id.as_str().as_bytes().get(shared..).unwrap_or_default();
    let mut key = [0; 16];
    key.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u128::from_be_bytes(key)
}
