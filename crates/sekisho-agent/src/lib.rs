//! The agent: proves its node to a server, measures the processes of its node, and hands them their identities.
//!
//! It decides nothing about who may have what: entries say that, and the server's gate. It keeps serving what it
//! holds while the server is gone (law L14), and a process's identity ends with the process (law L11).

mod attest;
mod cache;
mod caller;
mod config;
mod core;
mod delegations;
mod error;
mod inspect_api;
mod issue;
mod jwt_check;
mod proofs;
mod records;
mod renew;
mod revocations;
mod shares;
mod sidecar_api;
mod sole_holder;
mod sync;
mod turns;
mod wiring;
mod workload_api;

pub use cache::check_cached;
pub use config::AgentArgs;
pub use error::AgentError;
pub use wiring::run;
