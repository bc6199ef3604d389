use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Query, State};
use sekisho_identity::bundle_to_jwks;
use sekisho_ledger::sha256_of;
use sekisho_runtime::TaskStatus;
use sekisho_store::AuthorityRecord;
use sekisho_types::SpiffeId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::domain::Shared;
use crate::log_search;

/// The trust bundle, in SPIFFE's format and as PEM, with the fingerprints that an agent may be given.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BundleForm {
    trust_domain: String,
    /// SPIFFE bundle document (a JWK Set).
    bundle: serde_json::Value,
    /// X.509 authorities in DER, as hexadecimal.
    x509_authorities: Vec<String>,
    /// SHA-256 of each X.509 authority.
    fingerprints: Vec<String>,
    /// The authorities and where each stands, the active one first.
    authorities: Vec<AuthorityForm>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuthorityForm {
    /// SHA-256 of its certificate.
    fingerprint: String,
    /// `active`, `prepared` (signs next) or `old` (signs no more).
    slot: String,
    /// Unix seconds.
    not_before: i64,
    not_after: i64,
}

#[utoipa::path(get, path = "/v1/bundle", responses((status = 200, body = BundleForm)))]
pub(super) async fn bundle(State(domain): State<Shared>) -> Json<BundleForm> {
    let bundle = domain.view.read(|state| state.bundle.clone());
    let form = |authority: AuthorityRecord| AuthorityForm {
        fingerprint: hex::encode(sha256_of(&authority.certificate)),
        slot: authority.slot,
        not_before: authority.not_before.seconds(),
        not_after: authority.not_after.seconds(),
    };
    Json(BundleForm {
        authorities: domain.authorities.all().into_iter().map(form).collect(),
        trust_domain: domain.name.as_str().to_owned(),
        bundle: bundle_to_jwks(&bundle),
        x509_authorities: bundle.x509_authorities.iter().map(|authority| hex::encode(&authority.der)).collect(),
        fingerprints: bundle.fingerprints().iter().map(ToString::to_string).collect(),
    })
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthForm {
    trust_domain: String,
    version: String,
    revision: u64,
    entries: usize,
    agents: usize,
    log_size: u64,
    policy_revision: Option<u64>,
    /// Policy revision that sidecars report to run, by their workload's SPIFFE ID and by agent.
    policy_in_force: BTreeMap<String, BTreeMap<String, u64>>,
    /// Why the policy folder as it is now was not taken, if it was not.
    policy_folder_refused: Option<String>,
    /// Unix seconds at which the signing authority ends.
    authority_ends: Option<i64>,
    /// The server's clock, in Unix milliseconds.
    now_ms: i64,
    /// The time of the newest leaf: ahead of the clock if that was set back.
    log_time_ms: i64,
    /// The time by which this server deletes, in Unix milliseconds: behind the clock if that jumped ahead.
    believed_ms: i64,
    /// The server's long-running tasks by name: whether each runs, and how often it had to be started again.
    tasks: BTreeMap<&'static str, TaskForm>,
    /// Leaves of state changes that wait for the ledger.
    outbox: u64,
    /// Parts of the log that were found damaged on disk, each with its file and entries.
    log_damage: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskForm {
    running: bool,
    restarts: u64,
}

/// What nodes reported that still exist.
fn policy_in_force(domain: &Shared) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut reported = domain.policy_in_force.lock().unwrap_or_else(PoisonError::into_inner);
    domain.view.read(|state| {
        reported.retain(|_, nodes| {
            nodes.retain(|node, _| state.nodes.contains_key(node));
            !nodes.is_empty()
        });
    });
    let texts = |nodes: &BTreeMap<SpiffeId, u64>| nodes.iter().map(|(node, at)| (node.to_string(), *at)).collect();
    reported.iter().map(|(id, nodes)| (id.clone(), texts(nodes))).collect()
}

#[utoipa::path(get, path = "/v1/health", responses((status = 200, body = HealthForm), (status = 503, body = Problem)))]
pub(super) async fn health(State(domain): State<Shared>) -> Result<Json<HealthForm>, Problem> {
    let counted = domain.clone();
    let outbox = sekisho_runtime::blocking(move || counted.store.read(|reader| reader.outbox_length(&counted.name)));
    let outbox = outbox.await.map_err(|e| Problem::unavailable(&e))?.map_err(|e| Problem::unavailable(&e))?;
    let policy_in_force = policy_in_force(&domain);
    let clock = sekisho_runtime::now();
    let policy_folder_refused = domain.policy_folder_refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let task = |(name, status): (&'static str, TaskStatus)| {
        (name, TaskForm { running: status.running, restarts: status.restarts })
    };
    let tasks = domain.tasks.status().into_iter().map(task).collect();
    let authority_ends = domain.authorities.signing().ok().map(|signing| signing.record.not_after.seconds());
    Ok(Json(domain.view.read(|state| HealthForm {
        trust_domain: domain.name.as_str().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: state.revision.0,
        entries: state.entries.len(),
        agents: state.nodes.len(),
        log_size: domain.ledger.size(),
        policy_revision: state.policy.as_ref().map(|policy| policy.revision),
        policy_in_force,
        policy_folder_refused,
        authority_ends,
        now_ms: clock.millis(),
        log_time_ms: domain.log_time.load(Ordering::Relaxed),
        believed_ms: domain.belief.time(clock).min(clock).millis(),
        tasks,
        outbox,
        log_damage: domain.scrub.damage().iter().map(ToString::to_string).collect(),
    })))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentitiesQuery {
    /// At most 1000; 50 by default.
    limit: Option<u32>,
}

/// An attestation or an issuance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IdentityForm {
    /// For `sekisho prove`.
    id: String,
    at_ms: i64,
    kind: String,
    spiffe_id: String,
    log_index: u64,
}

#[utoipa::path(get, path = "/v1/identities", params(IdentitiesQuery), responses((status = 200, body = Vec<IdentityForm>)))]
pub(super) async fn identities(
    State(domain): State<Shared>,
    Query(query): Query<IdentitiesQuery>,
) -> Result<Json<Vec<IdentityForm>>, Problem> {
    let limit = query.limit.unwrap_or(50).min(1000);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = sekisho_runtime::blocking(move || log_search::newest_identities(&domain.ledger, limit));
    let form = |found: log_search::Identity| IdentityForm {
        id: found.id,
        at_ms: found.at.millis(),
        kind: found.kind.to_owned(),
        spiffe_id: found.spiffe_id,
        log_index: found.log_index,
    };
    Ok(Json(found.await.map_err(|e| Problem::unavailable(&e))?.into_iter().map(form).collect()))
}
