use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::extract::Query;
use axum::{Extension, Json};
use sekisho_api::{AuthorityForm, BundleForm, HealthForm, IdentitiesQuery, IdentityForm, TaskForm};
use sekisho_identity::bundle_to_jwks;
use sekisho_ledger::sha256_of;
use sekisho_runtime::TaskStatus;
use sekisho_store::AuthorityRecord;
use sekisho_types::{SpiffeId, TrustDomain, UnixTime};

use super::problem::Refused;
use crate::caller::Operator;
use crate::domain::Domains;
use crate::executor::Call;
use crate::log_search::Identity;
use crate::queries::{Figures, Health, ListIdentities, ShowBundle, ShowHealth};

#[cfg_attr(test, utoipa::path(get, path = "/v1/bundle", operation_id = "show_bundle",
    responses((status = 200, body = BundleForm))))]
pub(super) async fn bundle(Extension(call): Extension<Call<Operator>>) -> Json<BundleForm> {
    let (bundle, authorities) = call.ask(ShowBundle).await;
    let form = |authority: AuthorityRecord| AuthorityForm {
        fingerprint: hex::encode(sha256_of(&authority.certificate)),
        slot: authority.slot,
        not_before_ms: authority.not_before.millis(),
        not_after_ms: authority.not_after.millis(),
    };
    Json(BundleForm {
        authorities: authorities.into_iter().map(form).collect(),
        trust_domain: bundle.trust_domain.as_str().to_owned(),
        bundle: bundle_to_jwks(&bundle),
        x509_authorities: bundle.x509_authorities.iter().map(|authority| hex::encode(&authority.der)).collect(),
        fingerprints: bundle.fingerprints().iter().map(ToString::to_string).collect(),
    })
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/health", operation_id = "show_health",
    responses((status = 200, body = HealthForm), (status = 503, body = sekisho_api::Problem))))]
pub(super) async fn health(
    Extension(call): Extension<Call<Operator>>,
    Extension(all): Extension<Domains>,
) -> Result<Json<HealthForm>, Refused> {
    let health = call.ask(ShowHealth { all }).await?;
    let Health { trust_domain, figures, policy_in_force, outbox, now, believed, log_time, beside } = health;
    let Figures { revision, entries, agents, policy_revision, policy_folder_refused, log_size, .. } = figures;
    let task = |(name, status): (&'static str, TaskStatus)| {
        (name.to_owned(), TaskForm { running: status.running, restarts: status.restarts })
    };
    let nodes = |(id, nodes): (String, BTreeMap<SpiffeId, u64>)| {
        (id, nodes.into_iter().map(|(node, revision)| (node.to_string(), revision)).collect())
    };
    let socket = |(name, path): (TrustDomain, PathBuf)| (name.to_string(), path.display().to_string());
    Ok(Json(HealthForm {
        trust_domain: trust_domain.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: revision.0,
        entries,
        agents,
        log_size,
        policy_revision,
        policy_in_force: policy_in_force.into_iter().map(nodes).collect(),
        policy_folder_refused,
        authority_ends_ms: figures.authority_ends.map(|ends| ends.millis()),
        now_ms: now.millis(),
        log_time_ms: log_time.millis(),
        believed_ms: believed.millis(),
        tasks: figures.tasks.into_iter().map(task).collect(),
        outbox,
        log_damage: figures.damage.iter().map(ToString::to_string).collect(),
        beside: beside.into_iter().map(socket).collect(),
        dangers: figures.dangers.into_iter().map(str::to_owned).collect(),
    }))
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/identities", operation_id = "list_identities", params(IdentitiesQuery),
    responses((status = 200, body = Vec<IdentityForm>))))]
pub(super) async fn identities(
    Extension(call): Extension<Call<Operator>>,
    Query(query): Query<IdentitiesQuery>,
) -> Result<Json<Vec<IdentityForm>>, Refused> {
    let limit = usize::try_from(query.limit.unwrap_or(50).min(1000)).unwrap_or(1000);
    let form = |found: Identity| IdentityForm {
        id: found.id,
        at_ms: found.at.millis(),
        kind: found.kind.to_owned(),
        spiffe_id: found.spiffe_id,
        ends_at_ms: found.ends_at.map(UnixTime::millis),
        log_index: found.log_index,
    };
    Ok(Json(call.ask(ListIdentities { limit }).await?.into_iter().map(form).collect()))
}
