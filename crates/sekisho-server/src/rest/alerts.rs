use axum::extract::Query;
use axum::{Extension, Json};
use sekisho_api::{AlertForm, AlertsQuery};

use super::problem::Refused;
use crate::alert_form::alert_form;
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
    Ok(Json(call.ask(ListAlerts { after: query.after, limit }).await?.into_iter().map(alert_form).collect()))
}
