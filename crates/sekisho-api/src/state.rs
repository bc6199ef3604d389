use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The trust bundle, in SPIFFE's format and as PEM, with the fingerprints that an agent may be given.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BundleForm {
    pub trust_domain: String,
    /// SPIFFE bundle document (a JWK Set).
    pub bundle: serde_json::Value,
    /// X.509 authorities in DER, as hexadecimal.
    pub x509_authorities: Vec<String>,
    /// SHA-256 of each X.509 authority.
    pub fingerprints: Vec<String>,
    /// The authorities and where each stands, the active one first.
    pub authorities: Vec<AuthorityForm>,
}

#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuthorityForm {
    /// SHA-256 of its certificate.
    pub fingerprint: String,
    /// `active`, `prepared` (signs next) or `old` (signs no more).
    pub slot: String,
    /// Unix milliseconds.
    pub not_before_ms: i64,
    pub not_after_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HealthForm {
    pub trust_domain: String,
    pub version: String,
    pub revision: u64,
    pub entries: usize,
    pub agents: usize,
    pub log_size: u64,
    pub policy_revision: Option<u64>,
    /// Policy revision that sidecars report to run, by their workload's SPIFFE ID and by agent.
    pub policy_in_force: BTreeMap<String, BTreeMap<String, u64>>,
    /// Why the policy folder as it is now was not taken, if it was not.
    pub policy_folder_refused: Option<String>,
    /// When the signing authority ends, in Unix milliseconds.
    pub authority_ends_ms: Option<i64>,
    /// The server's clock, in Unix milliseconds.
    pub now_ms: i64,
    /// The time of the newest leaf: ahead of the clock if that was set back.
    pub log_time_ms: i64,
    /// The time by which this server deletes, in Unix milliseconds: behind the clock if that jumped ahead.
    pub believed_ms: i64,
    /// The server's long-running tasks by name: whether each runs, and how often it had to be started again.
    pub tasks: BTreeMap<String, TaskForm>,
    /// Leaves of state changes that wait for the ledger.
    pub outbox: u64,
    /// Parts of the log that were found damaged on disk, each with its file and entries.
    pub log_damage: Vec<String>,
    /// The other trust domains of this server, each with the socket of its operators; named to callers on a local
    /// socket only.
    #[serde(default)]
    pub beside: BTreeMap<String, String>,
    /// Switches in force in the server that weaken safety.
    #[serde(default)]
    pub dangers: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TaskForm {
    pub running: bool,
    pub restarts: u64,
}

/// Asks for the next change.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct ChangesQuery {
    /// The `sequence` of an earlier answer.
    pub after: Option<u64>,
}

/// That something changed; what did is read where it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChangesForm {
    /// Counts changes since the server started.
    pub sequence: u64,
    pub revision: u64,
    pub policy_revision: Option<u64>,
    /// Why the policy folder as it is now was not taken, if it was not.
    pub policy_folder_refused: Option<String>,
}

/// What `/readyz` answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Readiness {
    pub ready: bool,
    /// The parts that are not usable: `starting`, `disk`, `store`, `ledger`, `authority`.
    pub failing: Vec<String>,
}
