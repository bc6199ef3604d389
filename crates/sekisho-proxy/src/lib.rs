//! The sidecar: mTLS for a service that knows nothing of it, and a policy decision for each request.
//!
//! It speaks with its workload's SVID, delegated by the agent that measured the workload, and stops when the workload
//! ends. It holds no rule of access: policy comes from the server, and what a request is may be read in one way only.

mod answer;
mod answer_frames;
mod answer_head;
mod body_filter;
mod config;
mod deciding;
mod decisions;
mod dialling;
mod error;
mod fair_queue;
pub mod guard;
mod hops;
pub mod http1_scan;
mod idle;
mod idle_pool;
mod inbound;
mod judged;
mod local;
mod log_limiter;
mod measures;
mod outbound;
mod peer_http1;
mod peer_http2;
mod policy;
mod poll_on_wake;
mod program;
mod read_first;
mod recorder;
mod refusal;
mod renewal;
mod request_body;
mod revocations;
mod serving;
mod shared_dial;
mod strict;
mod tcp;
mod to_peer;
mod trace;
mod upload;
mod upstream;
mod wiring;
mod workload;

pub use config::{OutboundSpec, Protocol, ProxyArgs};
pub use deciding::{Deciding, OpenRequest};
pub use decisions::Outcome;
pub use error::ProxyError;
pub use policy::stored_policy;
pub use wiring::run;
