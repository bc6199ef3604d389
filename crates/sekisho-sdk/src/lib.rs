//! What a service, or a sidecar for it, embeds: an identity that comes from the local agent and rotates by itself.

mod agent;
mod revocations;
mod source;

pub use agent::{AgentChannel, agent_channel, with_header};
pub use revocations::{RevocationKeeper, follow_revocations};
pub use source::{Held, IdentitySource, Workload};
