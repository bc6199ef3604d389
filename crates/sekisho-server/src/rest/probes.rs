//! `/livez` and `/readyz`, for monitors of this server. They name no secret, so every caller is answered.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_api::Readiness;

use crate::domain::{Domains, Shared};

/// The process serves requests.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// The server can attest, issue and record, in each of its trust domains. What fails in another one than that which was
/// asked stands with its name.
pub(super) async fn readyz(
    State(asked): State<Shared>,
    Extension(all): Extension<Domains>,
) -> (StatusCode, Json<Readiness>) {
    let failing = all.iter().flat_map(|domain| {
        let name = if Arc::ptr_eq(domain, &asked) { String::new() } else { format!("{}: ", domain.identity.name) };
        domain.watch.health.failing().into_iter().map(move |part| format!("{name}{part}"))
    });
    let failing: Vec<String> = failing.collect();
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: failing.is_empty(), failing }))
}
