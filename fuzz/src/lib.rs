//! Fuzz targets for parsers of network and file bytes (law L9), on the stable toolchain.
//!
//! Without instrumentation there is no coverage to steer by, so the engine steers by outcomes: a target says in a few
//! words what became of its input, and an input with a new outcome joins the corpus. Runs are replayed by their seed.

mod attestation;
mod boot;
#[expect(clippy::disallowed_methods, reason = "it says how long a target takes, in real time")]
mod engine;
mod files;
mod log_targets;
mod policies;
mod random;
mod samples;
mod targets;

pub use engine::{Failure, Run, run};
pub use policies::compared;
pub use targets::{Target, all};
