//! What callers can have done that changes something: a file for each. `executor.rs` runs them.

mod agent_change;
mod apply_policy;
mod approve_tpm;
mod ask_state;
mod asked;
mod attest;
mod attest_error;
mod ban_agent;
mod conversation;
mod create_entries;
mod create_token;
mod delete_entry;
mod deny_attestation;
mod evict_agent;
mod issue_jwt;
mod issue_x509;
mod own_svid;
mod play_drill;
mod post_status;
mod record;
mod renew;
mod retire_previous;
mod revoke;
mod revoke_token;
mod revoke_tpm;
mod run_drill;
mod show_state;
mod update_entry;

pub(crate) use apply_policy::{ApplyError, ApplyPolicy};
pub(crate) use approve_tpm::ApproveTpm;
pub(crate) use ask_state::{AskState, AskStateError};
pub(crate) use attest::{Admitted, Attest, AttestingNode, Opening};
pub(crate) use attest_error::AttestError;
pub(crate) use ban_agent::BanAgent;
pub(crate) use conversation::AnsweringNode;
pub(crate) use create_entries::CreateEntries;
pub(crate) use create_token::CreateToken;
pub(crate) use delete_entry::DeleteEntry;
pub(crate) use evict_agent::EvictAgent;
pub(crate) use issue_jwt::IssueJwt;
pub(crate) use issue_x509::{IssueX509, ShownKey, X509Request};
pub(crate) use own_svid::OwnSvid;
pub(crate) use play_drill::PlayDrill;
pub(crate) use post_status::PostStatus;
pub(crate) use record::Record;
pub(crate) use renew::{Renew, RenewError};
pub(crate) use retire_previous::RetirePrevious;
pub(crate) use revoke::Revoke;
pub(crate) use revoke_token::RevokeToken;
pub(crate) use revoke_tpm::RevokeTpm;
pub(crate) use run_drill::RunDrill;
pub(crate) use show_state::ShowState;
pub(crate) use update_entry::UpdateEntry;

#[cfg(test)]
mod tests;
