//! The agent: proves its node to a server, measures the processes of its node, and hands them their identities.
//!
//! It decides nothing about who may have what: entries say that, and the server's gate. It keeps serving what it
//! holds while the server is gone (law L14), and a process's identity ends with the process (law L11).

mod attest;
mod backoff;
mod cache;
mod caller;
mod config;
mod core;
mod delegation;
mod delegations;
mod error;
mod held;
mod host;
mod inspect_api;
mod issue;
mod journal;
mod jwt_check;
mod known;
mod limits;
mod looks;
mod measures;
mod proofs;
mod records;
mod refusal;
mod renew;
mod revocations;
mod sds_api;
mod sds_delta;
mod sds_secrets;
mod server_failure;
mod serving;
mod shares;
mod sidecar_api;
mod sole_holder;
mod status;
mod streams;
mod svid;
mod sync;
mod turns;
mod upstream;
mod wiring;
mod workload_api;

pub use cache::check_cached;
pub use config::AgentArgs;
pub use error::AgentError;
pub use server_failure::ServerFailure;
pub use wiring::run;
