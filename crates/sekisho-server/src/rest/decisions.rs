use axum::Json;
use axum::extract::{Path, Query, State};
use sekisho_store::DecisionRow;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::domain::Shared;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionsQuery {
    /// `allow`, `deny` or `refusal`.
    effect: Option<String>,
    /// Only older ones than this, in Unix milliseconds.
    before_ms: Option<i64>,
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

fn form(row: DecisionRow) -> DecisionForm {
    let record = serde_json::from_str(&row.record).unwrap_or_default();
    DecisionForm { id: row.id, at_ms: row.at_ms, effect: row.effect, log_index: row.log_index, record }
}

#[utoipa::path(get, path = "/v1/decisions", params(DecisionsQuery), responses((status = 200, body = Vec<DecisionForm>)))]
pub(super) async fn list(
    State(domain): State<Shared>,
    Query(query): Query<DecisionsQuery>,
) -> Result<Json<Vec<DecisionForm>>, Problem> {
    let (before, limit) = (query.before_ms.unwrap_or(i64::MAX), query.limit.unwrap_or(50).min(1000));
    let rows = tokio::task::spawn_blocking(move || {
        domain.store.read(|reader| reader.decisions(&domain.name, query.effect.as_deref(), before, limit))
    });
    let rows = rows.await.map_err(|e| Problem::unavailable(&e))?.map_err(|e| Problem::unavailable(&e))?;
    Ok(Json(rows.into_iter().map(form).collect()))
}

#[utoipa::path(get, path = "/v1/decisions/{id}", responses((status = 200, body = DecisionForm), (status = 404, body = Problem)))]
pub(super) async fn show(State(domain): State<Shared>, Path(id): Path<String>) -> Result<Json<DecisionForm>, Problem> {
    let missing =
        format!("no decision `{id}` here; it may still wait in its node's spool, or be older than what is kept");
    let row = tokio::task::spawn_blocking(move || domain.store.read(|reader| reader.decision(&domain.name, &id)));
    let row = row.await.map_err(|e| Problem::unavailable(&e))?.map_err(|e| Problem::unavailable(&e))?;
    row.map(form).map(Json).ok_or_else(|| Problem::not_found(missing))
}
