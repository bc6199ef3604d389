use axum::extract::State;
use axum::{Extension, Json};
use sekisho_policy::Source;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Operator;
use super::problem::Problem;
use crate::domain::Shared;
use crate::policy_folder::{self, ApplyError};

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyFileForm {
    name: String,
    text: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyForm {
    revision: u64,
    /// SHA-256 over names and texts.
    digest: String,
    at_ms: i64,
    files: Vec<PolicyFileForm>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplyRequest {
    files: Vec<PolicyFileForm>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppliedForm {
    revision: u64,
}

#[utoipa::path(get, path = "/v1/policy", responses((status = 200, body = PolicyForm), (status = 404, body = Problem)))]
pub(super) async fn show(State(domain): State<Shared>) -> Result<Json<PolicyForm>, Problem> {
    let policy = domain.view.read(|state| state.policy.clone());
    let policy = policy
        .ok_or_else(|| Problem::not_found("no policy yet, so every request is denied; use `sekisho policy apply`"))?;
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

#[utoipa::path(put, path = "/v1/policy", request_body = ApplyRequest,
    responses((status = 200, body = AppliedForm), (status = 400, body = Problem)))]
pub(super) async fn apply(
    State(domain): State<Shared>,
    Extension(by): Extension<Operator>,
    Json(request): Json<ApplyRequest>,
) -> Result<Json<AppliedForm>, Problem> {
    let sources = request.files.into_iter().map(|file| Source { name: file.name, text: file.text }).collect();
    match policy_folder::apply(&domain, sources, by.name()).await {
        Ok(revision) => Ok(Json(AppliedForm { revision })),
        Err(ApplyError::Policy(error)) => Err(Problem::invalid(error.to_string())),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}
