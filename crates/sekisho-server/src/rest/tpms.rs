use axum::extract::Query;
use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_api::{TpmRef, TpmRow};
use sekisho_store::DeviceRecord;

use super::problem::Refused;
use crate::caller::Operator;
use crate::commands::{ApproveTpm, RevokeTpm};
use crate::executor::Call;
use crate::queries::ListTpms;

#[cfg_attr(test, utoipa::path(get, path = "/v1/tpms", operation_id = "list_tpms",
    responses((status = 200, body = Vec<TpmRow>))))]
pub(super) async fn list(Extension(call): Extension<Call<Operator>>) -> Result<Json<Vec<TpmRow>>, Refused> {
    Ok(Json(call.ask(ListTpms).await?.into_iter().map(row).collect()))
}

#[cfg_attr(test, utoipa::path(post, path = "/v1/tpms", operation_id = "approve_tpm", request_body = TpmRef,
    responses((status = 204), (status = 400, body = sekisho_api::Problem))))]
pub(super) async fn approve(
    Extension(call): Extension<Call<Operator>>,
    Json(tpm): Json<TpmRef>,
) -> Result<StatusCode, Refused> {
    call.execute(ApproveTpm { ek: tpm.digest()? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg_attr(test, utoipa::path(delete, path = "/v1/tpms", operation_id = "revoke_tpm", params(TpmRef),
    responses((status = 204), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn revoke(
    Extension(call): Extension<Call<Operator>>,
    Query(tpm): Query<TpmRef>,
) -> Result<StatusCode, Refused> {
    call.execute(RevokeTpm { ek: tpm.digest()? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn row(record: DeviceRecord) -> TpmRow {
    TpmRow {
        ek: record.key.to_string(),
        agent_id: record.node.map(|id| id.to_string()),
        approved_by: record.approved_by,
        about: record.about,
        seen_at_ms: record.seen_at.millis(),
        revoked_at_ms: Some(record.revoked_at.millis()).filter(|at| *at > 0),
    }
}
