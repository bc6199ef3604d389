use std::sync::Arc;

use axum::extract::Query;
use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_api::{AppliedForm, ApplyRequest, PolicyFileForm, PolicyForm, PolicyQuery};
use sekisho_policy::Source;
use sekisho_store::PolicyRecord;

use super::problem::Refused;
use crate::caller::Operator;
use crate::commands::ApplyPolicy;
use crate::domain::Shared;
use crate::executor::Call;
use crate::queries::RunningPolicy;

#[cfg_attr(test, utoipa::path(get, path = "/v1/policy", params(PolicyQuery),
    responses((status = 200, body = PolicyForm), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn show(
    Extension(call): Extension<Call<Operator>>,
    Query(query): Query<PolicyQuery>,
) -> Result<Json<PolicyForm>, Refused> {
    let policy = match query.revision {
        None => call.ask(RunningPolicy).ok_or_else(|| {
            Refused::not_found("no policy yet, so every request is denied; use `sekisho policy apply`")
        })?,
        Some(revision) => earlier(call.domain(), revision).await?,
    };
    Ok(Json(PolicyForm {
        revision: policy.revision,
        digest: policy.digest.to_string(),
        at_ms: policy.at.millis(),
        files: policy
            .files
            .iter()
            .map(|(name, text)| PolicyFileForm { name: name.clone(), text: text.clone() })
            .collect(),
    }))
}

async fn earlier(domain: &Shared, revision: u64) -> Result<Arc<PolicyRecord>, Refused> {
    let found = domain.store.policy(&domain.identity.name, Some(revision)).await;
    let found = found.map_err(|error| Refused::unavailable(&error))?;
    let missing = || Refused::not_found(format!("policy revision {revision} is not kept, or never was"));
    found.map(Arc::new).ok_or_else(missing)
}

#[cfg_attr(test, utoipa::path(put, path = "/v1/policy", request_body = ApplyRequest,
    responses((status = 200, body = AppliedForm), (status = 400, body = sekisho_api::Problem),
    (status = 409, body = sekisho_api::Problem))))]
pub(super) async fn apply(
    Extension(call): Extension<Call<Operator>>,
    Json(request): Json<ApplyRequest>,
) -> Result<Json<AppliedForm>, Refused> {
    if let Some(folder) = &call.domain().settings.policy_folder {
        let folder = folder.display();
        let detail = format!(
            "this server follows the folder {folder}, whose next change would replace what is applied: put the \
                files there, or start the \
             server without `--policy-folder`"
        );
        return Err(call.refuse(Refused::new(StatusCode::CONFLICT, detail)).await.into_error());
    }
    let sources = request.files.into_iter().map(|file| Source { name: file.name, text: file.text }).collect();
    Ok(Json(AppliedForm { revision: call.execute(ApplyPolicy { sources }).await? }))
}
