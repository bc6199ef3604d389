use axum::extract::Path;
use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_api::{TokenForm, TokenRequest, TokenRow};
use sekisho_evidence::token_hash;
use sekisho_runtime::now;
use sekisho_store::TokenRecord;

use super::problem::Refused;
use crate::caller::Operator;
use crate::commands::{CreateToken, RevokeToken};
use crate::executor::Call;
use crate::queries::ListTokens;
use crate::tokens;

#[cfg_attr(test, utoipa::path(post, path = "/v1/tokens", operation_id = "create_token", request_body = TokenRequest,
    responses((status = 201, body = TokenForm), (status = 400, body = sekisho_api::Problem))))]
pub(super) async fn create(
    Extension(call): Extension<Call<Operator>>,
    Json(request): Json<TokenRequest>,
) -> Result<(StatusCode, Json<TokenForm>), Refused> {
    let command = CreateToken { agent: request.agent_id, token: request.token, ttl_seconds: request.ttl };
    let made = call.execute(command).await?;
    let form = TokenForm {
        id: made.id,
        token: made.token,
        agent_id: made.agent_id.to_string(),
        expires_at_ms: made.expires_at.millis(),
    };
    Ok((StatusCode::CREATED, Json(form)))
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/tokens", operation_id = "list_tokens",
    responses((status = 200, body = Vec<TokenRow>))))]
pub(super) async fn list(Extension(call): Extension<Call<Operator>>) -> Result<Json<Vec<TokenRow>>, Refused> {
    Ok(Json(call.ask(ListTokens).await?.iter().map(row).collect()))
}

#[cfg_attr(test, utoipa::path(delete, path = "/v1/tokens/{id}", operation_id = "revoke_token",
    responses((status = 204), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn revoke(
    Extension(call): Extension<Call<Operator>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refused> {
    call.execute(RevokeToken { id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn row(record: &TokenRecord) -> TokenRow {
    let agent_id = record.agent_id.to_string();
    let holds_token = agent_id.rsplit('/').next().is_some_and(|name| token_hash(name).to_string() == record.hash);
    TokenRow {
        id: tokens::id_of(&record.hash),
        agent_id: (!holds_token).then_some(agent_id),
        expires_at_ms: record.expires_at.millis(),
        expired: record.expires_at <= now(),
    }
}
