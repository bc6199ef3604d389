//! The agent: proves its node to a server, measures the processes of its node, and hands them their identities.
//!
//! It decides nothing about who may have what: entries say that, and the server's gate. It keeps serving what it
//! holds while the server is gone (law L14), and a process's identity ends with the process (law L11).

mod attest;
mod backoff;
mod behind;
mod cache;
mod caller;
mod config;
mod core;
mod delegated_key;
mod delegation;
mod delegations;
mod error;
mod host;
mod inspect_api;
mod issue;
mod journal;
mod jwt_check;
mod limits;
mod measure_queue;
mod measures;
mod proofs;
mod records;
mod refusal;
mod renew;
mod renewal_due;
mod resident;
mod revocations;
mod sds_api;
mod sds_delta;
mod sds_secrets;
mod seal;
mod server_failure;
mod server_state;
mod serving;
mod show_state;
mod sidecar_api;
mod sign;
mod socket_scans;
mod sole_holder;
mod status;
mod streams;
mod svid;
mod svid_cache;
mod sync;
mod upstream;
mod user_budgets;
mod wiring;
mod workload_api;

pub use cache::check_cached;
pub use config::AgentArgs;
pub use error::AgentError;
pub use server_failure::ServerFailure;
pub use wiring::run;
