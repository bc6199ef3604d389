//! The server: trust domain authority, registration, policy revisions, the ledger, and the APIs to them.
//!
//! It wires rooms together and holds no rule of its own: who may receive what is `sekisho-identity`'s gate, what a
//! leaf says is `sekisho-ledger`'s form, and what is durable when is the store's and the disk's.

mod anchors;
mod authorities;
mod backup;
mod behind;
mod belief;
mod bound;
mod budget;
mod caller;
mod command;
mod commands;
mod concerned;
mod config;
mod counters;
mod delivery;
mod denied;
mod departure;
mod domain;
mod door;
mod ends;
mod entry_index;
mod entry_page;
mod error;
mod executor;
mod followers;
mod grpc;
mod health;
mod issue;
mod journal;
mod jump;
mod lineage;
mod listener;
mod log_search;
mod opening;
mod outbox;
mod own_svid;
mod policy_folder;
mod readiness;
mod recent;
mod record;
mod refusal;
mod refusal_counts;
mod refusals;
mod registration;
mod rest;
mod restore;
mod retention;
mod revocations;
mod revoke;
mod roles;
mod rotation;
mod scrub;
mod settings_log;
mod settle;
mod standing;
mod submit;
#[cfg(test)]
mod testbed;
mod tokens;
mod unstored;
mod upkeep;
mod view;
mod watch;
mod wiring;
mod withheld;
mod witness;

pub use backup::{BackupError, Copied, backup};
pub use config::{DomainArgs, ServerArgs};
pub use error::ServerError;
pub use record::check_records;
pub use rest::openapi_document;
pub use restore::{Restored, RestoredLog, restore};
pub use scrub::{Checked, FsckError, fsck};
pub use wiring::run;
