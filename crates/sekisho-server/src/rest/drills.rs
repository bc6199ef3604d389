use axum::{Extension, Json};
use sekisho_api::{DrillForm, DrillRef};

use super::problem::Refused;
use crate::caller::Operator;
use crate::commands::RunDrill;
use crate::executor::Call;

#[cfg_attr(test, utoipa::path(post, path = "/v1/drills", operation_id = "run_drill", request_body = DrillRef,
    responses((status = 200, body = DrillForm), (status = 404, body = sekisho_api::Problem),
        (status = 409, body = sekisho_api::Problem))))]
pub(super) async fn run(
    Extension(call): Extension<Call<Operator>>,
    Json(drill): Json<DrillRef>,
) -> Result<Json<DrillForm>, Refused> {
    let report = call.execute(RunDrill { id: drill.spiffe_id()?, kind: drill.drill }).await?;
    let (reason, after) = report.refused.unzip();
    Ok(Json(DrillForm {
        id: drill.id,
        refused: reason.is_some(),
        reason,
        refused_after_us: after.map(|after| u64::try_from(after.as_micros()).unwrap_or(u64::MAX)),
        alert: report.alert,
    }))
}
