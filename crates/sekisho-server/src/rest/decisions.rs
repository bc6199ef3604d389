use axum::extract::{Path, Query};
use axum::{Extension, Json};
use sekisho_api::{DecisionForm, DecisionsQuery};
use sekisho_disk::{Found, IndexedRecord};
use sekisho_events::{RecordClass, RecordId};

use super::problem::Refused;
use crate::caller::Operator;
use crate::executor::Call;
use crate::queries::{ListDecisions, ShowDecision};
use crate::record::id_of;

pub(super) fn form(kept: &IndexedRecord, log_index: u64) -> DecisionForm {
    let id = id_of(kept);
    DecisionForm {
        id: id.to_string(),
        at_ms: id.at_ms(),
        effect: RecordClass::of(kept.class).as_str().to_owned(),
        log_index,
        record: serde_json::from_slice(&kept.record).unwrap_or_default(),
    }
}

fn of(found: &Found) -> DecisionForm {
    form(&found.kept, found.log_index)
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/decisions", operation_id = "list_decisions",
    params(DecisionsQuery), responses(
    (status = 200, body = Vec<DecisionForm>, description = "newest first"),
     (status = 400, body = sekisho_api::Problem))))]
pub(super) async fn list(
    Extension(call): Extension<Call<Operator>>,
    Query(query): Query<DecisionsQuery>,
) -> Result<Json<Vec<DecisionForm>>, Refused> {
    let class = query.effect.as_deref().map(|effect| {
        RecordClass::parse(effect)
            .ok_or_else(|| Refused::invalid(format!("`effect` is `{effect}`; it can be allow, deny or refusal")))
    });
    let before = query.before.as_deref().map(|id| {
        RecordId::parse(id)
            .ok_or_else(|| Refused::invalid(format!("`before` is `{id}`, which is not the id of a decision")))
    });
    let (class, before) = (class.transpose()?, before.transpose()?);
    let limit = usize::try_from(query.limit.unwrap_or(50).min(1000)).unwrap_or(1000);
    Ok(Json(call.ask(ListDecisions { class, before, limit }).await?.iter().map(of).collect()))
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/decisions/{id}", operation_id = "show_decision",
    responses((status = 200, body = DecisionForm), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn show(
    Extension(call): Extension<Call<Operator>>,
    Path(id): Path<String>,
) -> Result<Json<DecisionForm>, Refused> {
    Ok(Json(of(&call.ask(ShowDecision(id)).await?)))
}
