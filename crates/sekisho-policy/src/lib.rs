//! The policy decision point: load, check, test, decide, explain.
//!
//! The language is Rego, evaluated by `sekisho-rego` within our limits. A lowering of the linear fragment ([`lower`])
//! decides common rules on the request itself, and names a failed condition. This crate knows nothing of sockets, files
//! or clocks: policies are texts, and `now` is an argument.

mod context;
mod decide;
mod dialect;
mod digits;
mod input;
mod input_json;
mod literals;
mod load;
mod lower;
mod mask;
mod names;
mod network;
mod nodes;
mod oracle;
mod question;
mod reads;
mod record;
mod refs;
mod replay;
mod residual;
mod schema;
mod scope;
mod secrets;
mod source;
mod test_runner;

pub use decide::{Decision, Judgement, RuleOutcome, Unmet};
pub use dialect::{Dialect, read as parse};
pub use input::{RequestInput, SubjectInput};
pub use load::PolicySet;
pub use mask::MASK;
pub use network::{Endpoint, EndpointError, Endpoints, Flow, NetworkRule, NetworkRules, NotLowered, Transport};
pub use record::Recorded;
pub use replay::Replayed;
pub use residual::{CompileFault, CompileRequest};
pub use secrets::Secrets;
pub use source::{ENTRY_RULE, MAX_POLICY_BYTES, PolicyError, Source};
pub use test_runner::{TestFile, TestOutcome, load_tested, run_tests, run_tests_with};
