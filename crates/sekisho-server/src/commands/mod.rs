//! What callers can have done that changes something: a file for each. `executor.rs` runs them.

mod agent_change;
mod apply_policy;
mod ban_agent;
mod create_entries;
mod create_token;
mod delete_entry;
mod evict_agent;
mod revoke;
mod revoke_token;
mod update_entry;

pub(crate) use apply_policy::{ApplyError, ApplyPolicy};
pub(crate) use ban_agent::BanAgent;
pub(crate) use create_entries::CreateEntries;
pub(crate) use create_token::CreateToken;
pub(crate) use delete_entry::DeleteEntry;
pub(crate) use evict_agent::EvictAgent;
pub(crate) use revoke::Revoke;
pub(crate) use revoke_token::RevokeToken;
pub(crate) use update_entry::UpdateEntry;
