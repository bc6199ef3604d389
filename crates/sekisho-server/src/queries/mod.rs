//! What callers may see of the state. `executor.rs` asks.

mod agents;
mod entries;
mod policy;

pub(crate) use agents::ListAgents;
pub(crate) use entries::{AuthorizedEntries, CountEntries, ListEntries, Listed, ShowEntry};
pub(crate) use policy::RunningPolicy;
