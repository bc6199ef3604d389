use axum::Json;
use axum::extract::{Path, Query, State};
use sekisho_api::{DecisionForm, DecisionsQuery, Problem};
use sekisho_disk::Found;

use super::problem::Refused;
use crate::domain::Shared;
use crate::record_form::{RecordName, class_name, class_of, name_of};

fn form(found: &Found) -> DecisionForm {
    DecisionForm {
        id: name_of(&found.kept),
        at_ms: i64::try_from(found.kept.key >> 80).unwrap_or(i64::MAX),
        effect: class_name(found.kept.class).to_owned(),
        log_index: found.log_index,
        record: serde_json::from_slice(&found.kept.record).unwrap_or_default(),
    }
}

#[utoipa::path(get, path = "/v1/decisions", params(DecisionsQuery), responses(
    (status = 200, body = Vec<DecisionForm>, description = "newest first"), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(domain): State<Shared>,
    Query(query): Query<DecisionsQuery>,
) -> Result<Json<Vec<DecisionForm>>, Refused> {
    let class = query.effect.as_deref().map(|effect| {
        class_of(effect)
            .ok_or_else(|| Refused::invalid(format!("`effect` is `{effect}`; it can be allow, deny or refusal")))
    });
    let before = query.before.as_deref().map(|id| {
        let name = RecordName::parse(id)
            .ok_or_else(|| Refused::invalid(format!("`before` is `{id}`, which is not the id of a decision")));
        name.map(|name| name.key)
    });
    let (class, before) = (class.transpose()?, before.transpose()?.unwrap_or(u128::MAX));
    let limit = usize::try_from(query.limit.unwrap_or(50).min(1000)).unwrap_or(1000);
    let found = sekisho_runtime::blocking(move || domain.decisions.newest(class, before, limit));
    Ok(Json(found.await.map_err(|e| Refused::unavailable(&e))?.iter().map(form).collect()))
}

#[utoipa::path(get, path = "/v1/decisions/{id}", responses((status = 200, body = DecisionForm), (status = 404, body = Problem)))]
pub(super) async fn show(State(domain): State<Shared>, Path(id): Path<String>) -> Result<Json<DecisionForm>, Refused> {
    let missing =
        format!("no decision `{id}` here; it may still wait in its node's spool, or be older than what is kept");
    let name = RecordName::parse(&id);
    let find = move || name.and_then(|name| domain.decisions.find(name.key, |kept| name.names(kept)));
    let found = sekisho_runtime::blocking(find).await.map_err(|e| Refused::unavailable(&e))?;
    found.map(|(found, _)| Json(form(&found))).ok_or_else(|| Refused::not_found(missing))
}
