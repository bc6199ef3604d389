//! The store in memory: complete, without threads and without waiting, so that what runs on it is deterministic.

mod rows;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sekisho_types::{Digest, Revision, SpiffeId, TrustDomain, UnixTime};

pub(crate) use self::rows::{MemoryRows, Tables};
use crate::execute::execute;
use crate::observers::Observers;
use crate::{
    AlertRecord, Answer, AuthorityRecord, Batch, Changed, Committed, DeviceRecord, History, Marks, Observer,
    OutboxLeaf, Past, PolicyRecord, ServerId, Snapshot, SpoolPosition, Store, StoreError, TokenRecord, Write,
};

/// A handle to a state in memory, for one server. Clones, and handles for other servers, share the state.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Mutex<BTreeMap<TrustDomain, Tables>>>,
    observers: Observers,
    server: ServerId,
    fails: Arc<Mutex<Option<Fails>>>,
}

/// Which writes are not taken.
type Fails = Box<dyn Fn(&Write) -> bool + Send + Sync>;

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            shared: Arc::default(),
            observers: Observers::default(),
            server: ServerId::local(),
            fails: Arc::default(),
        }
    }
}

impl MemoryStore {
    /// The same state, for another server.
    #[must_use]
    pub fn shared_with(&self, server: ServerId) -> Self {
        Self { server, ..self.clone() }
    }

    /// The same state for a server that starts again: what observed the earlier one hears of nothing more.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Self { observers: Observers::default(), ..self.clone() }
    }

    /// From now on each batch with such a write fails, as on a full disk.
    pub fn fail_when(&self, fails: impl Fn(&Write) -> bool + Send + Sync + 'static) {
        *self.fails.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(fails));
    }

    fn with<T>(&self, td: &TrustDomain, work: impl FnOnce(&mut Tables) -> T) -> T {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        work(shared.entry(td.clone()).or_default())
    }

    fn answer<T: Send + 'static>(&self, td: &TrustDomain, work: impl FnOnce(&mut Tables) -> T) -> Answer<'static, T> {
        let found = self.with(td, work);
        Box::pin(std::future::ready(Ok(found)))
    }
}

impl Store for MemoryStore {
    fn server(&self) -> &ServerId {
        &self.server
    }

    fn commit(&self, batch: Batch) -> Answer<'_, Committed> {
        let fails = self.fails.lock().unwrap_or_else(PoisonError::into_inner);
        if fails.as_ref().is_some_and(|fails| batch.items.iter().flat_map(|item| &item.writes).any(fails)) {
            return Box::pin(std::future::ready(Err(StoreError::NotCommitted)));
        }
        drop(fails);
        let td = batch.trust_domain.clone();
        let written = self.with(&td, |tables| {
            let mut rows = MemoryRows { tables, server: &self.server };
            execute(&mut rows, &self.server, batch)
        });
        // Without the lock: observers may read.
        let answer = written.map(|(committed, delta)| {
            self.observers.notify(&delta);
            committed
        });
        Box::pin(std::future::ready(answer))
    }

    fn observe(&self, observer: Observer) {
        self.observers.add(observer);
    }

    fn snapshot(&self, td: &TrustDomain) -> Answer<'_, Snapshot> {
        self.answer(td, |tables| Snapshot {
            revision: tables.revision,
            entries: tables.entries.values().cloned().collect(),
            nodes: tables.nodes.values().cloned().collect(),
            policy: tables.policies.values().next_back().map(|policy| Arc::new(policy.clone())),
            revocations: tables.revocations.values().map(|revocation| Arc::new(revocation.clone())).collect(),
        })
    }

    fn history(&self, td: &TrustDomain, since: Revision) -> Answer<'_, History> {
        self.answer(td, |tables| {
            if since < tables.changes_from || since > tables.revision {
                return History::TooOld;
            }
            let changed = tables.changed.iter().filter(|((revision, ..), _)| *revision > since);
            let changed = changed.map(|((revision, ..), what)| Changed { revision: *revision, what: what.clone() });
            History::Known(changed.collect())
        })
    }

    fn past(&self, td: &TrustDomain, at_most: usize) -> Answer<'_, Past> {
        self.answer(td, |tables| {
            let beyond = tables.changed.keys().rev().nth(at_most).map(|(revision, ..)| *revision);
            let since = beyond.map_or(tables.changes_from, |revision| revision.max(tables.changes_from));
            let changed = tables.changed.iter().filter(|((revision, ..), _)| *revision > since);
            let changed = changed.map(|((revision, ..), what)| Changed { revision: *revision, what: what.clone() });
            Past { since, changed: changed.collect(), epochs: tables.epochs.clone() }
        })
    }

    fn revision(&self, td: &TrustDomain) -> Answer<'_, Revision> {
        self.answer(td, |tables| tables.revision)
    }

    fn authorities(&self, td: &TrustDomain) -> Answer<'_, (Revision, Vec<AuthorityRecord>)> {
        self.answer(td, |tables| (tables.revision, tables.authorities.values().cloned().collect()))
    }

    fn marks(&self, td: &TrustDomain) -> Answer<'_, Marks> {
        self.answer(td, |tables| Marks { last_leaf: tables.last_leaf, ..tables.marks.clone() })
    }

    fn alerts(&self, td: &TrustDomain, after: Option<&str>, limit: usize) -> Answer<'_, Vec<AlertRecord>> {
        self.answer(td, |tables| {
            let all = tables.alerts.values();
            match after {
                Some(after) => all.filter(|alert| alert.id.as_str() > after).take(limit).cloned().collect(),
                None => all.skip(tables.alerts.len().saturating_sub(limit)).cloned().collect(),
            }
        })
    }

    fn devices(&self, td: &TrustDomain) -> Answer<'_, Vec<DeviceRecord>> {
        self.answer(td, |tables| tables.devices.values().cloned().collect())
    }

    fn device(&self, td: &TrustDomain, key: &Digest) -> Answer<'_, Option<DeviceRecord>> {
        self.answer(td, |tables| tables.devices.get(key).cloned())
    }

    fn tokens(&self, td: &TrustDomain) -> Answer<'_, Vec<TokenRecord>> {
        self.answer(td, |tables| {
            let mut tokens: Vec<TokenRecord> = tables.tokens.values().cloned().collect();
            tokens.sort_by(|a, b| (a.expires_at, &a.hash).cmp(&(b.expires_at, &b.hash)));
            tokens
        })
    }

    fn token(&self, td: &TrustDomain, hash: &str) -> Answer<'_, Option<TokenRecord>> {
        self.answer(td, |tables| tables.tokens.get(hash).cloned())
    }

    fn policy(&self, td: &TrustDomain, revision: Option<u64>) -> Answer<'_, Option<PolicyRecord>> {
        self.answer(td, |tables| match revision {
            Some(revision) => tables.policies.get(&revision).cloned(),
            None => tables.policies.values().next_back().cloned(),
        })
    }

    fn spool(&self, td: &TrustDomain, node: &SpiffeId, spool: &str) -> Answer<'_, Option<SpoolPosition>> {
        self.answer(td, |tables| tables.spools.get(node).and_then(|spools| spools.get(spool)).copied())
    }

    fn former_parents(&self, td: &TrustDomain, id: &SpiffeId) -> Answer<'_, Vec<(SpiffeId, UnixTime)>> {
        self.answer(td, |tables| {
            let parents = tables.former_parents.get(id).into_iter().flatten();
            parents.map(|(parent, until)| (parent.clone(), *until)).collect()
        })
    }

    fn outbox(&self, td: &TrustDomain, limit: usize) -> Answer<'_, Vec<OutboxLeaf>> {
        self.answer(td, |tables| {
            let outbox = tables.outbox.get(&self.server).into_iter().flatten();
            outbox.take(limit).cloned().collect()
        })
    }

    fn outbox_length(&self, td: &TrustDomain) -> Answer<'_, u64> {
        self.answer(td, |tables| tables.outbox.get(&self.server).map_or(0, |outbox| outbox.len() as u64))
    }

    /// Memory that was given back cannot be read.
    fn wipe(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok::<_, StoreError>(())))
    }
}
