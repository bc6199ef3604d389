use axum::Extension;
use axum::http::header;
use axum::response::IntoResponse;
use sekisho_policy::CompileRequest;

use super::problem::Refused;
use crate::caller::Operator;
use crate::executor::Call;
use crate::queries::{CompileError, CompilePolicy};

/// What remains of a query by the policy in force, where a part of the input is unknown: OPA's Compile API.
#[cfg_attr(test, utoipa::path(post, path = "/v1/compile", operation_id = "compile_query",
    request_body = sekisho_api::CompileForm, responses((status = 200, body = sekisho_api::CompiledForm),
    (status = 400, body = sekisho_api::Problem), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn compile(
    Extension(call): Extension<Call<Operator>>,
    body: String,
) -> Result<impl IntoResponse, Refused> {
    let request = CompileRequest::read(&body).map_err(CompileError::Fault)?;
    let result = call.ask(CompilePolicy(request)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], format!("{{\"result\":{result}}}")))
}
