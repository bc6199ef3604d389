//! What callers may see: a file for each area. `executor.rs` asks.

mod agents;
mod alerts;
mod bundle;
mod changes;
mod compile;
mod decisions;
mod entries;
mod evidence;
mod figures;
mod health;
mod log;
mod policy;
mod prove;
mod query_error;
mod revocation_plan;
mod revocations;
mod tokens;
mod tpms;

pub(crate) use agents::ListAgents;
pub(crate) use alerts::ListAlerts;
pub(crate) use bundle::{ShowBundle, TrustBundle};
pub(crate) use changes::AwaitChange;
pub(crate) use compile::{CompileError, CompilePolicy};
pub(crate) use decisions::{FollowDecisions, Followed, Following, ListDecisions, ShowDecision};
pub(crate) use entries::{AuthorizedEntries, CountEntries, ListEntries, Listed, ShowEntry};
pub(crate) use evidence::ShowEvidence;
pub(crate) use figures::{Figures, Measured, ShowFigures};
pub(crate) use health::{Failing, Health, ShowHealth};
pub(crate) use log::{Checkpoint, ListIdentities, LogHead, ProveConsistency, ShowLog, Tile};
pub(crate) use policy::{EarlierPolicy, PolicyFolder, RunningPolicy};
pub(crate) use prove::Prove;
pub(crate) use query_error::QueryError;
pub(crate) use revocation_plan::{Plan, PlanRevocation};
pub(crate) use revocations::{Applied, InForce, ListRevocations};
pub(crate) use tokens::ListTokens;
pub(crate) use tpms::ListTpms;
