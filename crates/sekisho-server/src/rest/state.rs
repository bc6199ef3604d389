use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use axum::extract::{Query, State};
use axum::{Extension, Json};
use sekisho_api::{AuthorityForm, BundleForm, HealthForm, IdentitiesQuery, IdentityForm, TaskForm};
use sekisho_identity::bundle_to_jwks;
use sekisho_ledger::sha256_of;
use sekisho_runtime::TaskStatus;
use sekisho_store::AuthorityRecord;
use sekisho_types::{SpiffeId, UnixTime};

use super::problem::Refused;
use crate::caller::Operator;
use crate::domain::{Domains, Shared};
use crate::log_search;

#[cfg_attr(test, utoipa::path(get, path = "/v1/bundle", responses((status = 200, body = BundleForm))))]
pub(super) async fn bundle(State(domain): State<Shared>) -> Json<BundleForm> {
    let bundle = domain.view.read(|state| state.bundle.clone());
    let form = |authority: AuthorityRecord| AuthorityForm {
        fingerprint: hex::encode(sha256_of(&authority.certificate)),
        slot: authority.slot,
        not_before_ms: authority.not_before.millis(),
        not_after_ms: authority.not_after.millis(),
    };
    Json(BundleForm {
        authorities: domain.identity.authorities.all().into_iter().map(form).collect(),
        trust_domain: domain.identity.name.as_str().to_owned(),
        bundle: bundle_to_jwks(&bundle),
        x509_authorities: bundle.x509_authorities.iter().map(|authority| hex::encode(&authority.der)).collect(),
        fingerprints: bundle.fingerprints().iter().map(ToString::to_string).collect(),
    })
}

/// What nodes reported that still exist.
fn policy_in_force(domain: &Shared) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut reported = domain.streams.policy_in_force.lock().unwrap_or_else(PoisonError::into_inner);
    domain.view.read(|state| {
        reported.retain(|_, nodes| {
            nodes.retain(|node, _| state.nodes.contains_key(node));
            !nodes.is_empty()
        });
    });
    let texts = |nodes: &BTreeMap<SpiffeId, u64>| nodes.iter().map(|(node, at)| (node.to_string(), *at)).collect();
    reported.iter().map(|(id, nodes)| (id.clone(), texts(nodes))).collect()
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/health",
    responses((status = 200, body = HealthForm), (status = 503, body = sekisho_api::Problem))))]
pub(super) async fn health(
    State(domain): State<Shared>,
    Extension(all): Extension<Domains>,
    local: Option<Extension<Operator>>,
) -> Result<Json<HealthForm>, Refused> {
    // One who may administer this trust domain from elsewhere learns nothing of the others.
    let others = all.iter().filter(|other| local.is_some() && !Arc::ptr_eq(other, &domain));
    let socket = |other: &Shared| (other.identity.name.to_string(), other.settings.socket.display().to_string());
    let beside = others.map(socket).collect();
    let outbox = domain.store.outbox_length(&domain.identity.name).await.map_err(|e| Refused::unavailable(&e))?;
    let policy_in_force = policy_in_force(&domain);
    let clock = sekisho_runtime::now();
    let policy_folder_refused =
        domain.watch.policy_folder_refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let task = |(name, status): (&'static str, TaskStatus)| {
        (name.to_owned(), TaskForm { running: status.running, restarts: status.restarts })
    };
    let tasks = domain.watch.tasks.status().into_iter().map(task).collect();
    let authority_ends_ms = domain.identity.authorities.signing().ok().map(|signing| signing.record.not_after.millis());
    Ok(Json(domain.view.read(|state| HealthForm {
        trust_domain: domain.identity.name.as_str().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: state.revision.0,
        entries: state.entries.len(),
        agents: state.nodes.len(),
        log_size: domain.log.ledger.size(),
        policy_revision: state.policy.as_ref().map(|policy| policy.revision),
        policy_in_force,
        policy_folder_refused,
        authority_ends_ms,
        now_ms: clock.millis(),
        log_time_ms: domain.log.log_time.load(Ordering::Relaxed),
        believed_ms: domain.watch.belief.time(clock).min(clock).millis(),
        tasks,
        outbox,
        log_damage: domain.watch.scrub.damage().iter().map(ToString::to_string).collect(),
        beside,
        dangers: sekisho_runtime::dangers().into_iter().map(str::to_owned).collect(),
    })))
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/identities", params(IdentitiesQuery),
    responses((status = 200, body = Vec<IdentityForm>))))]
pub(super) async fn identities(
    State(domain): State<Shared>,
    Query(query): Query<IdentitiesQuery>,
) -> Result<Json<Vec<IdentityForm>>, Refused> {
    let limit = query.limit.unwrap_or(50).min(1000);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = sekisho_runtime::blocking(move || log_search::newest_identities(&domain.log.ledger, limit));
    let form = |found: log_search::Identity| IdentityForm {
        id: found.id,
        at_ms: found.at.millis(),
        kind: found.kind.to_owned(),
        spiffe_id: found.spiffe_id,
        ends_at_ms: found.ends_at.map(UnixTime::millis),
        log_index: found.log_index,
    };
    Ok(Json(found.await.map_err(|e| Refused::unavailable(&e))?.into_iter().map(form).collect()))
}
