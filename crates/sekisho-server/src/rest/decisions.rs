use axum::Json;
use axum::extract::{Path, Query, State};
use sekisho_api::{DecisionForm, DecisionsQuery};
use sekisho_disk::{Found, RecordKept};
use sekisho_events::{RecordClass, RecordId};

use super::problem::Refused;
use crate::domain::Shared;
use crate::record::id_of;

pub(super) fn form(kept: &RecordKept, log_index: u64) -> DecisionForm {
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

#[cfg_attr(test, utoipa::path(get, path = "/v1/decisions", params(DecisionsQuery), responses(
    (status = 200, body = Vec<DecisionForm>, description = "newest first"),
     (status = 400, body = sekisho_api::Problem))))]
pub(super) async fn list(
    State(domain): State<Shared>,
    Query(query): Query<DecisionsQuery>,
) -> Result<Json<Vec<DecisionForm>>, Refused> {
    let class = query.effect.as_deref().map(|effect| {
        RecordClass::parse(effect)
            .map(RecordClass::number)
            .ok_or_else(|| Refused::invalid(format!("`effect` is `{effect}`; it can be allow, deny or refusal")))
    });
    let before = query.before.as_deref().map(|id| {
        let name = RecordId::parse(id)
            .ok_or_else(|| Refused::invalid(format!("`before` is `{id}`, which is not the id of a decision")));
        name.map(RecordId::key)
    });
    let (class, before) = (class.transpose()?, before.transpose()?.unwrap_or(u128::MAX));
    let limit = usize::try_from(query.limit.unwrap_or(50).min(1000)).unwrap_or(1000);
    let found = sekisho_runtime::blocking(move || domain.log.decisions.newest(class, before, limit));
    Ok(Json(found.await.map_err(|e| Refused::unavailable(&e))?.iter().map(of).collect()))
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/decisions/{id}",
    responses((status = 200, body = DecisionForm), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn show(State(domain): State<Shared>, Path(id): Path<String>) -> Result<Json<DecisionForm>, Refused> {
    let missing =
        format!("no decision `{id}` here; it may still wait in its node's spool, or be older than what is kept");
    let id = RecordId::parse(&id);
    let find = move || id.and_then(|id| domain.log.decisions.find(id.key(), |kept| id_of(kept) == id));
    let found = sekisho_runtime::blocking(find).await.map_err(|e| Refused::unavailable(&e))?;
    found.map(|(found, _)| Json(of(&found))).ok_or_else(|| Refused::not_found(missing))
}
