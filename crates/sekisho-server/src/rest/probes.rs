//! `/livez` and `/readyz`, for monitors of this server. They name no secret, so every caller is answered.

use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_api::Readiness;

use crate::domain::Domains;
use crate::executor::Call;
use crate::queries::Failing;

/// The process serves requests.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// The server can attest, issue and record, in each of its trust domains.
pub(super) async fn readyz(
    Extension(call): Extension<Call<()>>,
    Extension(all): Extension<Domains>,
) -> (StatusCode, Json<Readiness>) {
    let failing = call.ask(Failing { all }).await;
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: failing.is_empty(), failing }))
}
