use axum::Json;
use axum::extract::{Path, Query, State};
use sekisho_disk::Found;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::domain::Shared;
use crate::record_form::{RecordName, class_name, class_of, name_of};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionsQuery {
    /// `allow`, `deny` or `refusal`.
    effect: Option<String>,
    /// Only older ones than the one with this id, to go on from page to page.
    before: Option<String>,
    /// At most 1000; 50 by default.
    limit: Option<u32>,
}

/// A record and its place in the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionForm {
    id: String,
    at_ms: i64,
    effect: String,
    log_index: u64,
    /// The record as it was made, in canonical JSON.
    record: serde_json::Value,
}

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
) -> Result<Json<Vec<DecisionForm>>, Problem> {
    let class = query.effect.as_deref().map(|effect| {
        class_of(effect)
            .ok_or_else(|| Problem::invalid(format!("`effect` is `{effect}`; it can be allow, deny or refusal")))
    });
    let before = query.before.as_deref().map(|id| {
        let name = RecordName::parse(id)
            .ok_or_else(|| Problem::invalid(format!("`before` is `{id}`, which is not the id of a decision")));
        name.map(|name| name.key)
    });
    let (class, before) = (class.transpose()?, before.transpose()?.unwrap_or(u128::MAX));
    let limit = usize::try_from(query.limit.unwrap_or(50).min(1000)).unwrap_or(1000);
    let found = sekisho_runtime::blocking(move || domain.decisions.newest(class, before, limit));
    Ok(Json(found.await.map_err(|e| Problem::unavailable(&e))?.iter().map(form).collect()))
}

#[utoipa::path(get, path = "/v1/decisions/{id}", responses((status = 200, body = DecisionForm), (status = 404, body = Problem)))]
pub(super) async fn show(State(domain): State<Shared>, Path(id): Path<String>) -> Result<Json<DecisionForm>, Problem> {
    let missing =
        format!("no decision `{id}` here; it may still wait in its node's spool, or be older than what is kept");
    let name = RecordName::parse(&id);
    let find = move || name.and_then(|name| domain.decisions.find(name.key, |kept| name.names(kept)));
    let found = sekisho_runtime::blocking(find).await.map_err(|e| Problem::unavailable(&e))?;
    found.map(|(found, _)| Json(form(&found))).ok_or_else(|| Problem::not_found(missing))
}
