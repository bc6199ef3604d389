//! Entries, agents and tokens as operators change them. Each change and its leaf are one write batch.

use sekisho_events::{AgentBanned, AgentEvicted, EntryCreated, EntryDeleted, EntryUpdated, Event, Leaf};
use sekisho_identity::{Entry, EntryError, is_for_any_user};
use sekisho_runtime::{now, random_hex};
use sekisho_store::Batch;
use sekisho_types::{EntryId, SpiffeId};

use crate::domain::Domain;
use crate::journal::{self, JournalError, Stamp, personal};
use crate::revoke;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error("an entry with the same SPIFFE ID, parent and selectors exists: `{}`", .0.id)]
    Exists(Box<Entry>),
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

pub(crate) fn new_entry_id() -> Option<EntryId> {
    EntryId::parse(&format!("ent_{}", random_hex(12))).ok()
}

/// Creates entries in one write batch, each with a leaf of its own. The results are in order: one that cannot be created
/// keeps no other out.
pub(crate) async fn create(
    domain: &Domain,
    entries: Vec<Entry>,
    by: &str,
) -> Result<Vec<Result<Entry, RegistrationError>>, RegistrationError> {
    let prepared: Vec<_> = entries.into_iter().map(|entry| prepare(domain, entry, by)).collect();
    let put = |batch: &mut Batch<'_>, (entry, leaf): (Entry, Leaf)| {
        if let Some(same) = batch.twin(&entry)? {
            return Ok(Err(RegistrationError::Exists(Box::new(same))));
        }
        if batch.entry(&entry.id)?.is_some() {
            return Ok(Err(RegistrationError::IdTaken(entry.id)));
        }
        batch.put_entry(entry.clone())?;
        journal::log(batch, leaf)?;
        Ok::<_, RegistrationError>(Ok(entry))
    };
    let all = move |batch: &mut Batch<'_>| {
        prepared.into_iter().map(|one| one.map_or_else(|refused| Ok(Err(refused)), |one| put(batch, one))).collect()
    };
    domain.store.write(&domain.name, all).await
}

pub(crate) async fn create_one(domain: &Domain, entry: Entry, by: &str) -> Result<Entry, RegistrationError> {
    let id = entry.id.clone();
    create(domain, vec![entry], by).await?.pop().unwrap_or(Err(RegistrationError::NoEntry(id)))
}

fn prepare(domain: &Domain, mut entry: Entry, by: &str) -> Result<(Entry, Leaf), RegistrationError> {
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
    Ok((entry, Stamp::now(domain).leaf(created)))
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
    change: impl FnOnce(Entry) -> Result<Entry, RegistrationError> + Send + 'static,
) -> Result<Entry, RegistrationError> {
    let (name, default_ttl) = (domain.name.clone(), domain.settings.x509_ttl_seconds);
    let (stamp, by) = (Stamp::now(domain), personal(by.to_owned()));
    let changed = id.clone();
    let updated = domain
        .store
        .write(&domain.name, move |batch| {
            let old = batch.entry(&id)?.ok_or_else(|| RegistrationError::NoEntry(id.clone()))?;
            let (created_at, revision) = (old.created_at, old.revision_number);
            let before = old.clone();
            let mut entry = change(old)?;
            entry.id = id;
            entry.created_at = created_at;
            entry.revision_number = revision + 1;
            entry.check(&name)?;
            warn_of_any_user(&entry);
            if let Some(same) = batch.twin(&entry)?.filter(|same| same.id != entry.id) {
                return Err(RegistrationError::Exists(Box::new(same)));
            }
            if (&before.spiffe_id, &before.parent_id) != (&entry.spiffe_id, &entry.parent_id) {
                batch.put_former_parent(&before.spiffe_id, &before.parent_id, now())?;
            }
            revoke::changed_entry(batch, &before, &entry, default_ttl, now())?;
            batch.put_entry(entry.clone())?;
            let updated = EntryUpdated {
                after: Some(personal(Box::new(entry.clone()))),
                before: Some(personal(Box::new(before))),
                by,
                entry: entry.id.clone(),
                registration: None,
            };
            stamp.log(batch, updated)?;
            Ok(entry)
        })
        .await;
    domain.departures.settle(|departure| departure.is_by(&changed)).await;
    updated
}

/// Deletes an entry. When this returns, no identity of it leaves any more.
pub(crate) async fn delete(domain: &Domain, id: EntryId, by: &str) -> Result<(), RegistrationError> {
    let (stamp, by) = (Stamp::now(domain), personal(by.to_owned()));
    let default_ttl = domain.settings.x509_ttl_seconds;
    let deleted = id.clone();
    let written = domain
        .store
        .write(&domain.name, move |batch| {
            let old = batch.entry(&id)?.ok_or_else(|| RegistrationError::NoEntry(id.clone()))?;
            batch.put_former_parent(&old.spiffe_id, &old.parent_id, now())?;
            batch.remove_entry(&id)?;
            revoke::entry(batch, &old, "was deleted", default_ttl, now())?;
            Ok(stamp.log(batch, EntryDeleted { before: Some(personal(Box::new(old))), by, entry: id })?)
        })
        .await;
    domain.departures.settle(|departure| departure.is_by(&deleted)).await;
    written
}

/// Bans an agent: it stays known, and no identity leaves to it any more when this returns.
pub(crate) async fn ban(domain: &Domain, id: SpiffeId, by: &str) -> Result<(), RegistrationError> {
    let banned = AgentBanned { agent: personal(id.clone()), by: personal(by.to_owned()) };
    change_agent(domain, id, banned.into(), "was banned", |batch, id| {
        let Some(mut node) = batch.node(id)? else { return Ok(false) };
        node.banned = true;
        batch.put_node(node)?;
        Ok(true)
    })
    .await
}

/// Evicts an agent: it must attest again, and no identity leaves to it before when this returns.
pub(crate) async fn evict(domain: &Domain, id: SpiffeId, by: &str) -> Result<(), RegistrationError> {
    let evicted = AgentEvicted { agent: personal(id.clone()), by: personal(by.to_owned()) };
    change_agent(domain, id, evicted.into(), "was evicted", |batch, id| batch.remove_node(id)).await
}

async fn change_agent(
    domain: &Domain,
    id: SpiffeId,
    event: Event,
    reason: &'static str,
    change: fn(&mut Batch<'_>, &SpiffeId) -> Result<bool, sekisho_store::StoreError>,
) -> Result<(), RegistrationError> {
    let leaf = Stamp::now(domain).leaf(event);
    let changed = id.clone();
    let written = domain
        .store
        .write(&domain.name, move |batch| {
            if !change(batch, &id)? {
                return Err(RegistrationError::NoAgent(id));
            }
            revoke::agent(batch, &id, reason, now())?;
            Ok(journal::log(batch, leaf)?)
        })
        .await;
    domain.departures.settle(|departure| departure.is_to(&changed)).await;
    written
}
