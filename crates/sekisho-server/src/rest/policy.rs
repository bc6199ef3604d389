use std::sync::Arc;

use axum::extract::Query;
use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_api::{AppliedForm, ApplyRequest, PolicyFileForm, PolicyForm, PolicyQuery};
use sekisho_policy::Source;

use super::problem::Refused;
use crate::caller::Operator;
use crate::commands::ApplyPolicy;
use crate::executor::Call;
use crate::queries::{EarlierPolicy, PolicyFolder, RunningPolicy};

#[cfg_attr(test, utoipa::path(get, path = "/v1/policy", operation_id = "show_policy", params(PolicyQuery),
    responses((status = 200, body = PolicyForm), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn show(
    Extension(call): Extension<Call<Operator>>,
    Query(query): Query<PolicyQuery>,
) -> Result<Json<PolicyForm>, Refused> {
    let policy = match query.revision {
        None => call.ask(RunningPolicy).await.ok_or_else(|| {
            Refused::not_found("no policy yet, so every request is denied; use `sekisho policy apply`")
        })?,
        Some(revision) => Arc::new(call.ask(EarlierPolicy(revision)).await?),
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

#[cfg_attr(test, utoipa::path(put, path = "/v1/policy", operation_id = "apply_policy", request_body = ApplyRequest,
    responses((status = 200, body = AppliedForm), (status = 400, body = sekisho_api::Problem),
    (status = 409, body = sekisho_api::Problem))))]
pub(super) async fn apply(
    Extension(call): Extension<Call<Operator>>,
    Json(request): Json<ApplyRequest>,
) -> Result<Json<AppliedForm>, Refused> {
    if let Some(folder) = call.ask(PolicyFolder).await {
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
