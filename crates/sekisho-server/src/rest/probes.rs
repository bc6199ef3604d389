//! `/livez` and `/readyz`, for whoever watches whether this server runs. They name no secret, so anybody may ask.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sekisho_api::Readiness;

use crate::domain::Shared;

/// The process serves requests.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// The server can attest, issue and record.
pub(super) async fn readyz(State(domain): State<Shared>) -> (StatusCode, Json<Readiness>) {
    let failing = domain.watch.health.failing();
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let failing: Vec<String> = failing.into_iter().map(str::to_owned).collect();
    (status, Json(Readiness { ready: failing.is_empty(), failing }))
}
