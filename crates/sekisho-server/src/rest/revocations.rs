use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use sekisho_api::{RevocationForm, RevocationList, RevocationPlan, RevocationRequest, RevocationRow, SidecarForm};
use sekisho_identity::Revocation;

use super::problem::Refused;
use crate::caller::Operator;
use crate::commands::Revoke;
use crate::executor::Call;
use crate::queries::{Applied, InForce, ListRevocations, PlanRevocation};

#[cfg_attr(test, utoipa::path(get, path = "/v1/revocations", operation_id = "list_revocations",
    responses((status = 200, body = RevocationList))))]
pub(super) async fn list(Extension(call): Extension<Call<Operator>>) -> Json<RevocationList> {
    let InForce { revocations, applied } = call.ask(ListRevocations).await;
    let mut revisions: Vec<u64> = applied.iter().map(|sidecar| sidecar.revision).collect();
    revisions.sort_unstable();
    let row = |revocation: &Revocation| {
        let waiting = revisions.partition_point(|applied| *applied < revocation.revision.0);
        RevocationRow { revocation: revocation.into(), applied: revisions.len() - waiting, waiting }
    };
    let rows = revocations.iter().map(row).collect();
    Json(RevocationList { revocations: rows, sidecars: applied.iter().map(sidecar).collect() })
}

#[cfg_attr(test, utoipa::path(
    post,
    path = "/v1/revocations", operation_id = "create_revocation",
    request_body = RevocationRequest,
    responses(
        (status = 200, body = RevocationPlan),
        (status = 201, body = RevocationForm),
        (status = 400, body = sekisho_api::Problem),
        (status = 404, body = sekisho_api::Problem),
    )
))]
pub(super) async fn create(
    Extension(call): Extension<Call<Operator>>,
    Json(request): Json<RevocationRequest>,
) -> Result<Response, Refused> {
    let plan = call.ask(PlanRevocation(request.target()?)).await?;
    if request.dry_run {
        let plan = RevocationPlan {
            cuts: plan.cuts,
            then: plan.then.to_owned(),
            until_ms: plan.until.millis(),
            known: plan.known,
        };
        return Ok(Json(plan).into_response());
    }
    let made = call.execute(Revoke { plan, reason: request.reason }).await?;
    Ok((StatusCode::CREATED, Json(RevocationForm::from(&made))).into_response())
}

fn sidecar(applied: &Applied) -> SidecarForm {
    let (agent, spiffe_id) = (applied.agent.to_string(), applied.spiffe_id.clone());
    SidecarForm { agent, spiffe_id, applied_revision: applied.revision }
}
