use axum::extract::Query;
use axum::{Extension, Json};
use sekisho_api::{AlertForm, AlertsQuery};
use sekisho_store::AlertRecord;
use sekisho_types::UnixTime;

use super::problem::Refused;
use crate::caller::Operator;
use crate::executor::Call;
use crate::queries::ListAlerts;

#[cfg_attr(test, utoipa::path(get, path = "/v1/alerts", operation_id = "list_alerts", params(AlertsQuery),
    responses((status = 200, body = Vec<AlertForm>))))]
pub(super) async fn list(
    Extension(call): Extension<Call<Operator>>,
    Query(query): Query<AlertsQuery>,
) -> Result<Json<Vec<AlertForm>>, Refused> {
    let limit = usize::try_from(query.limit.unwrap_or(50).min(1000)).unwrap_or(1000);
    Ok(Json(call.ask(ListAlerts { after: query.after, limit }).await?.into_iter().map(form).collect()))
}

fn form(alert: AlertRecord) -> AlertForm {
    AlertForm {
        id: alert.id,
        at_ms: alert.at.millis(),
        severity: alert.severity.as_str().to_owned(),
        kind: alert.kind,
        agent_id: alert.agent.to_string(),
        reason: alert.reason,
        good_at_ms: alert.good_at.map(UnixTime::millis),
    }
}
