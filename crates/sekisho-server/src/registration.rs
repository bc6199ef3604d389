//! What the commands that change entries, agents and tokens share. Each change and its leaf are one write batch.

use std::sync::Arc;

use sekisho_identity::{Entry, EntryError, is_for_any_user};
use sekisho_runtime::{now, time_ordered_id, to_hex};
use sekisho_store::{Conflict, Write};
use sekisho_types::{Digest, EntryId, SpiffeId};

use crate::denied::Denied;
use crate::journal::JournalError;
use crate::refusal::Fault;
use crate::view::View;

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
        "the entry would no longer ask for {0}, so its identity would be easier to get; keep it, or replace a selector \
            by another of its kind"
    )]
    Loosens(String),
    #[error("no agent `{0}`")]
    NoAgent(SpiffeId),
    #[error(transparent)]
    Token(#[from] sekisho_evidence::TokenError),
    #[error("no unused token `{0}`; see `sekisho token list`")]
    NoToken(String),
    #[error("no operator allowed the TPM `{0}`; see `sekisho tpm list`")]
    NoTpm(Digest),
    #[error("`{0}` names no agent that joins by token: give one segment of a path, for example `host-a`")]
    AgentName(String),
    #[error("agent `{0}` is banned, and a token cannot bring it back: give its host another name")]
    AgentBanned(SpiffeId),
    #[error("a token lives between 1 second and 7 days")]
    TokenLife,
    #[error(transparent)]
    SpiffeId(#[from] sekisho_types::SpiffeIdError),
    #[error(transparent)]
    Denied(#[from] Denied),
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
            Conflict::Leaf(error) if error.is_too_long() => Self::Form(error.to_string()),
            Conflict::TokenExists => Self::Form(conflict.to_string()),
            other => Self::Journal(other.into()),
        }
    }
}

/// Ids of entries that are made together begin alike: their rows stand together, too, and few pages of the database are
/// written.
pub(crate) fn new_entry_id() -> Option<EntryId> {
    let [id @ .., _, _, _, _] = time_ordered_id(now());
    EntryId::parse(&format!("ent_{}", to_hex(&id))).ok()
}

pub(crate) fn warn_of_any_user(entry: &Entry) {
    if is_for_any_user(&entry.selectors) {
        let spiffe_id = &entry.spiffe_id;
        tracing::warn!(entry = %entry.id, %spiffe_id, "danger_any_user: the entry names no user, group or container");
    }
}

pub(crate) fn known_entry(view: &View, id: &EntryId) -> Result<Arc<Entry>, RegistrationError> {
    let found = view.read(|state| state.entries.get(id).cloned());
    found.ok_or_else(|| RegistrationError::NoEntry(id.clone()))
}

pub(crate) fn former_parent(entry: &Entry) -> Write {
    Write::PutFormerParent { id: entry.spiffe_id.clone(), parent: entry.parent_id.clone(), until: now() }
}

impl Fault for RegistrationError {
    fn is_caller_fault(&self) -> bool {
        match self {
            // A change by another operator is not a fault of this one.
            Self::Exists(_) | Self::IdTaken(_) | Self::ChangedMeanwhile(_) | Self::Journal(_) => false,
            Self::Denied(denied) => denied.is_caller_fault(),
            _ => true,
        }
    }

    fn log_message(&self) -> String {
        self.to_string()
    }
}
