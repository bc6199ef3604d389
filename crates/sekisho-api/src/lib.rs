//! Requests and replies of the REST API, as types that the server and the command line share.
//!
//! A form says how a value is written as JSON, and is read from and into words (`sekisho-types`, `sekisho-identity`)
//! here. This crate knows nothing of HTTP, of who may ask and of what is done about a request.

mod agents;
mod alerts;
mod compile;
mod decisions;
mod drills;
mod entries;
mod entry_form;
mod error;
mod log;
mod policy;
mod problem;
mod revocations;
mod state;
mod tokens;
mod tpms;

pub use agents::{AgentForm, AgentList, AgentRef, AgentsQuery, AttestationForm, EvidenceQuery};
pub use alerts::{AlertForm, AlertsQuery};
pub use compile::{CompileForm, CompileOptionsForm, CompiledForm, ResidualForm};
pub use decisions::{DecisionForm, DecisionsQuery};
pub use drills::{DrillForm, DrillKind, DrillRef};
pub use entries::{EntriesQuery, EntryForm, EntryList, UpdateQuery};
pub use error::FormError;
pub use log::{ConsistencyForm, IdentitiesQuery, IdentityForm, LogForm};
pub use policy::{AppliedForm, ApplyRequest, PolicyFileForm, PolicyForm, PolicyQuery};
pub use problem::Problem;
pub use revocations::{
    RevocationForm, RevocationList, RevocationPlan, RevocationRequest, RevocationRow, RevocationTarget, SidecarForm,
};
pub use state::{AuthorityForm, BundleForm, ChangesForm, ChangesQuery, HealthForm, Readiness, TaskForm};
pub use tokens::{TokenForm, TokenRequest, TokenRow};
pub use tpms::{TpmRef, TpmRow};
