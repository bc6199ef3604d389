//! Entries, agents and tokens as operators change them. Each change and its leaf are one write batch.

use std::sync::Arc;

use sekisho_events::{AgentBanned, AgentEvicted, EntryCreated, EntryDeleted, EntryUpdated, Event};
use sekisho_identity::{Entry, EntryError, Node, is_for_any_user};
use sekisho_runtime::{now, random_hex};
use sekisho_store::{Batch, Conflict, EntryVersion, Expect, Item, Write};
use sekisho_types::{EntryId, SpiffeId};

use crate::domain::Domain;
use crate::journal::{JournalError, Stamp, personal};
use crate::{revoke, submit};

#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error("an entry with the same SPIFFE ID, parent and selectors exists: `{}`", .0.id)]
    Exists(Arc<Entry>),
    #[error("{0}")]
    Form(String),
    #[error("entry id `{0}` is taken")]
    IdTaken(EntryId),
    #[error("no entry `{0}`")]
    NoEntry(EntryId),
    #[error("entry `{0}` was changed by another operator meanwhile; look at it and try again")]
    ChangedMeanwhile(EntryId),
    #[error(
        "the entry would no longer ask for {0}, so more processes would get its identity; keep these selectors, or replace \
         each by another of its kind"
    )]
    Loosens(String),
    #[error("no agent `{0}`")]
    NoAgent(SpiffeId),
    #[error(transparent)]
    Token(#[from] sekisho_evidence::TokenError),
    #[error("no unused token `{0}`; see `sekisho token list`")]
    NoToken(String),
    #[error("`{0}` names no agent that joins by token: give one segment of a path, for example `host-a`")]
    AgentName(String),
    #[error("agent `{0}` is banned, and a token cannot bring it back: give its host another name")]
    AgentBanned(SpiffeId),
    #[error("a token lives between 1 second and 7 days")]
    TokenLife,
    #[error(transparent)]
    SpiffeId(#[from] sekisho_types::SpiffeIdError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<sekisho_store::StoreError> for RegistrationError {
    fn from(error: sekisho_store::StoreError) -> Self {
        Self::Journal(error.into())
    }
}

impl From<Conflict> for RegistrationError {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::EntryExists(id) => Self::IdTaken(id),
            Conflict::EntryChanged(id) => Self::ChangedMeanwhile(id),
            Conflict::Registered(entry) => Self::Exists(entry),
            Conflict::TokenExists => Self::Form(conflict.to_string()),
            other => Self::Journal(other.into()),
        }
    }
}

pub(crate) fn new_entry_id() -> Option<EntryId> {
    EntryId::parse(&format!("ent_{}", random_hex(12))).ok()
}

/// Creates entries in one write batch, each with a leaf of its own. The results are in order: one that cannot be created
/// keeps no other out.
pub(crate) async fn create(
    domain: &Domain,
    entries: Vec<Entry>,
    by: &str,
) -> Result<Vec<Result<Arc<Entry>, RegistrationError>>, RegistrationError> {
    let prepared: Vec<_> = entries.into_iter().map(|entry| prepare(domain, entry, by)).collect();
    let creation = |(entry, created): &(Arc<Entry>, EntryCreated)| {
        Item::default()
            .expect(Expect::Unregistered(entry.clone()))
            .expect(Expect::NoEntry(entry.id.clone()))
            .write(Write::PutEntry(entry.clone()))
            .record(Stamp::now(domain).leaf(created.clone()))
    };
    let items = prepared.iter().filter_map(|one| one.as_ref().ok()).map(creation).collect();
    let committed = domain.store.commit(Batch::new(&domain.name, items)).await?;
    let mut outcomes = committed.outcomes.into_iter();
    let results = prepared.into_iter().map(|one| {
        let (entry, _) = one?;
        outcomes.next().unwrap_or_else(|| Err(Conflict::EntryChanged(entry.id.clone())))?;
        Ok(entry)
    });
    Ok(results.collect())
}

pub(crate) async fn create_one(domain: &Domain, entry: Entry, by: &str) -> Result<Arc<Entry>, RegistrationError> {
    let id = entry.id.clone();
    create(domain, vec![entry], by).await?.pop().unwrap_or(Err(RegistrationError::NoEntry(id)))
}

fn prepare(domain: &Domain, mut entry: Entry, by: &str) -> Result<(Arc<Entry>, EntryCreated), RegistrationError> {
    entry.check(&domain.name)?;
    entry.created_at = now();
    entry.revision_number = 0;
    // SPIRE's API has no way to say that this is meant, and its clients must go on working; REST has asked.
    warn_of_any_user(&entry);
    let created = EntryCreated {
        after: Some(personal(Box::new(entry.clone()))),
        by: personal(by.to_owned()),
        entry: entry.id.clone(),
        registration: None,
    };
    Ok((Arc::new(entry), created))
}

fn warn_of_any_user(entry: &Entry) {
    if is_for_any_user(&entry.selectors) {
        tracing::warn!(entry = %entry.id, spiffe_id = %entry.spiffe_id, "danger_any_user: the entry names no user, group or container");
    }
}

/// Changes an entry; `change` gets it as it is and returns it as it is to be.
pub(crate) async fn update(
    domain: &Domain,
    id: EntryId,
    by: &str,
    change: impl Fn(&Entry) -> Result<Entry, RegistrationError>,
) -> Result<Arc<Entry>, RegistrationError> {
    let prepare = || {
        let before = known_entry(domain, &id)?;
        let mut entry = change(&before)?;
        entry.id = id.clone();
        entry.created_at = before.created_at;
        entry.revision_number = before.revision_number + 1;
        entry.check(&domain.name)?;
        warn_of_any_user(&entry);
        let entry = Arc::new(entry);
        let mut item = Item::default()
            .expect(Expect::Entry(EntryVersion::of(&before)))
            .expect(Expect::Unregistered(entry.clone()));
        if (&before.spiffe_id, &before.parent_id) != (&entry.spiffe_id, &entry.parent_id) {
            item = item.write(former_parent(&before));
        }
        let ttl = domain.settings.x509_ttl_seconds;
        item = domain.view.read(|state| revoke::changed_entry(item, state, (&before, &entry), ttl, now()));
        let updated = EntryUpdated {
            after: Some(personal(Box::new((*entry).clone()))),
            before: Some(personal(Box::new((*before).clone()))),
            by: personal(by.to_owned()),
            entry: id.clone(),
            registration: None,
        };
        Ok((item.write(Write::PutEntry(entry.clone())).record(Stamp::now(domain).leaf(updated)), entry))
    };
    let updated = submit::change(domain, prepare).await;
    domain.departures.settle(|departure| departure.is_by(&id)).await;
    updated.map(|(entry, _)| entry)
}

fn known_entry(domain: &Domain, id: &EntryId) -> Result<Arc<Entry>, RegistrationError> {
    let found = domain.view.read(|state| state.entries.get(id).cloned());
    found.ok_or_else(|| RegistrationError::NoEntry(id.clone()))
}

fn former_parent(entry: &Entry) -> Write {
    Write::PutFormerParent { id: entry.spiffe_id.clone(), parent: entry.parent_id.clone(), until: now() }
}

/// Deletes an entry. When this returns, no identity of it leaves any more.
pub(crate) async fn delete(domain: &Domain, id: EntryId, by: &str) -> Result<(), RegistrationError> {
    let prepare = || {
        let old = known_entry(domain, &id)?;
        let item = Item::default()
            .expect(Expect::Entry(EntryVersion::of(&old)))
            .write(former_parent(&old))
            .write(Write::RemoveEntry(id.clone()));
        let ttl = domain.settings.x509_ttl_seconds;
        let item = domain.view.read(|state| revoke::entry(item, state, &old, "was deleted", ttl, now()));
        let before = Some(personal(Box::new((*old).clone())));
        let deleted = EntryDeleted { before, by: personal(by.to_owned()), entry: id.clone() };
        Ok((item.record(Stamp::now(domain).leaf(deleted)), ()))
    };
    let written = submit::change(domain, prepare).await;
    domain.departures.settle(|departure| departure.is_by(&id)).await;
    written.map(drop)
}

/// Bans an agent: it stays known, and no identity leaves to it any more when this returns.
pub(crate) async fn ban(domain: &Domain, id: SpiffeId, by: &str) -> Result<(), RegistrationError> {
    let banned = AgentBanned { agent: personal(id.clone()), by: personal(by.to_owned()) };
    let ban = |node: &Node| Write::PutNode(Arc::new(Node { banned: true, ..node.clone() }));
    change_agent(domain, id, &banned.into(), "was banned", ban).await
}

/// Evicts an agent: it must attest again, and no identity leaves to it before when this returns.
pub(crate) async fn evict(domain: &Domain, id: SpiffeId, by: &str) -> Result<(), RegistrationError> {
    let evicted = AgentEvicted { agent: personal(id.clone()), by: personal(by.to_owned()) };
    change_agent(domain, id, &evicted.into(), "was evicted", |node| Write::RemoveNode(node.id.clone())).await
}

async fn change_agent(
    domain: &Domain,
    id: SpiffeId,
    event: &Event,
    reason: &str,
    change: impl Fn(&Node) -> Write,
) -> Result<(), RegistrationError> {
    let prepare = || {
        let node = domain.view.read(|state| state.nodes.get(&id).cloned());
        let node = node.ok_or_else(|| RegistrationError::NoAgent(id.clone()))?;
        let item = Item::default().write(change(&node)).expect(Expect::Node { id: id.clone(), is: Some(node) });
        let leaf = Stamp::now(domain).leaf(event.clone());
        Ok((revoke::agent(item, &id, reason, now()).record(leaf), ()))
    };
    let written = submit::change(domain, prepare).await;
    domain.departures.settle(|departure| departure.is_to(&id)).await;
    written.map(drop)
}
