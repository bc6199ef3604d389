//! SVIDs cached for processes, and one lock per key for requesting a new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sekisho_identity::{Entry, Revocations, leaf_facts};
use sekisho_types::UnixTime;
use tokio::time::Instant;

use crate::refusal::Refusal;
use crate::svid::{CachedSvid, SvidKey};

/// SVIDs kept at most; the ones that end first are dropped first.
const MAX_HELD: usize = 10_000;

type Svids = BTreeMap<SvidKey, Arc<CachedSvid>>;

/// Locked while an SVID is requested; holds the last failure, for callers that waited for it.
pub(crate) type IssueLock = Arc<tokio::sync::Mutex<Option<(Instant, Refusal)>>>;

pub(crate) struct SvidCache {
    svids: Mutex<Svids>,
    /// One issuance at a time for each key; the others wait for its result.
    issuing: Mutex<BTreeMap<SvidKey, IssueLock>>,
}

impl SvidCache {
    pub(crate) fn new(svids: Svids) -> Self {
        Self { svids: Mutex::new(svids), issuing: Mutex::default() }
    }

    /// One that has not expired and is of this entry's identity, with its key where the entry wants it.
    pub(crate) fn valid(&self, key: &SvidKey, entry: &Entry, now: UnixTime) -> Option<Arc<CachedSvid>> {
        let held = self.lock().get(key).cloned();
        let fits = |held: &CachedSvid| {
            held.spiffe_id == entry.spiffe_id && held.key.is_in_hardware() == entry.tpm_key && held.not_after > now
        };
        held.filter(|held| fits(held))
    }

    /// One that is not yet due, and of the entry as it is.
    pub(crate) fn fresh(&self, key: &SvidKey, entry: &Entry, now: UnixTime) -> Option<Arc<CachedSvid>> {
        let held = self.valid(key, entry, now);
        held.filter(|held| held.renew_at > now && held.entry_revision == entry.revision_number)
    }

    pub(crate) fn keep(&self, key: SvidKey, svid: Arc<CachedSvid>, now: UnixTime) {
        let mut held = self.lock();
        held.insert(key, svid);
        held.retain(|_, svid| svid.not_after > now);
        while held.len() > MAX_HELD {
            let first = held.iter().min_by_key(|(_, svid)| svid.not_after).map(|(key, _)| key.clone());
            first.map(|key| held.remove(&key));
        }
    }

    pub(crate) fn drop_one(&self, key: &SvidKey) {
        self.lock().remove(key);
    }

    /// Stops serving what a revocation concerns.
    pub(crate) fn drop_revoked(&self, all: &Revocations) {
        self.lock().retain(|_, svid| revoked_by(all, svid).is_none());
    }

    /// Serves none of those that are held.
    pub(crate) fn drop_all(&self) {
        self.lock().clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn all(&self) -> Vec<(SvidKey, Arc<CachedSvid>)> {
        self.lock().iter().map(|(key, svid)| (key.clone(), svid.clone())).collect()
    }

    /// The lock for requesting this SVID.
    pub(crate) fn issue_lock(&self, key: &SvidKey) -> IssueLock {
        self.issuing.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone()
    }

    /// Removes a lock that no other caller waits for: only the map and this caller have it.
    pub(crate) fn release_issue_lock(&self, key: &SvidKey, issue_lock: &IssueLock) {
        let mut issuing = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(issue_lock) <= 2 {
            issuing.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Svids> {
        self.svids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The revocation that an SVID falls under, if one does.
pub(crate) fn revoked_by(revocations: &Revocations, svid: &CachedSvid) -> Option<String> {
    if revocations.is_empty() {
        return None;
    }
    let facts = svid.chain.first().and_then(|leaf| leaf_facts(leaf).ok())?;
    revocations.find(&facts).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use sekisho_types::{Digest, EntryId, Secret, SpiffeId};

    use super::*;
    use crate::svid::HeldKey;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn entry() -> Entry {
        let id = |path: &str| SpiffeId::parse(path).unwrap();
        let (own, parent) = (id("spiffe://td/a"), id("spiffe://td/spire/agent/x"));
        Entry::new(EntryId::parse("e1").unwrap(), own, parent, Default::default())
    }

    fn svid(seconds: i64) -> Arc<CachedSvid> {
        Arc::new(CachedSvid {
            spiffe_id: entry().spiffe_id,
            chain: vec![],
            key: HeldKey::Memory(Secret::new(vec![])),
            not_after: NOW.plus_seconds(seconds),
            renew_at: NOW.plus_seconds(seconds / 2),
            hint: String::new(),
            log_index: 0,
            entry_revision: 0,
        })
    }

    #[test]
    fn an_svid_is_fresh_then_valid_then_gone() {
        let (held, key) = (SvidCache::new(Svids::new()), (EntryId::parse("e1").unwrap(), Digest::new([0; 32])));
        held.keep(key.clone(), svid(100), NOW);
        let at = |seconds| NOW.plus_seconds(seconds);
        let state = |seconds| {
            (held.fresh(&key, &entry(), at(seconds)).is_some(), held.valid(&key, &entry(), at(seconds)).is_some())
        };
        assert_eq!((state(0), state(50), state(100)), ((true, true), (false, true), (false, false)));
        let changed = Entry { revision_number: 1, ..entry() };
        assert!(held.fresh(&key, &changed, NOW).is_none() && held.valid(&key, &changed, NOW).is_some());
        let renamed = Entry { spiffe_id: SpiffeId::parse("spiffe://td/b").unwrap(), ..entry() };
        assert!(held.valid(&key, &renamed, NOW).is_none());
        let in_tpm = Entry { tpm_key: true, ..entry() };
        assert!(held.valid(&key, &in_tpm, NOW).is_none(), "its key is in memory");
        held.drop_one(&key);
        assert_eq!(held.len(), 0);
    }

    #[test]
    fn law_l9_what_is_kept_is_bounded() {
        let held = SvidCache::new(Svids::new());
        for n in 0..=MAX_HELD {
            let entry = EntryId::parse(&format!("e{n}")).unwrap();
            held.keep((entry, Digest::new([0; 32])), svid(i64::try_from(n).unwrap() + 10), NOW);
        }
        assert_eq!(held.len(), MAX_HELD);
        let first = (EntryId::parse("e0").unwrap(), Digest::new([0; 32]));
        assert!(held.valid(&first, &entry(), NOW).is_none(), "the one that ends first has gone");
    }

    #[tokio::test]
    async fn waiting_callers_share_one_issuance() {
        let (held, key) = (SvidCache::new(Svids::new()), (EntryId::parse("e1").unwrap(), Digest::new([0; 32])));
        let (one, other) = (held.issue_lock(&key), held.issue_lock(&key));
        assert!(Arc::ptr_eq(&one, &other));
        held.release_issue_lock(&key, &one);
        assert!(Arc::ptr_eq(&one, &held.issue_lock(&key)), "another still waits");
        drop(other);
        held.release_issue_lock(&key, &one);
        assert!(!Arc::ptr_eq(&one, &held.issue_lock(&key)));
    }
}
