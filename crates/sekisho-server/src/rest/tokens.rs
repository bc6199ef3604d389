use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_api::{Problem, TokenForm, TokenRequest, TokenRow};
use sekisho_evidence::token_hash;
use sekisho_runtime::now;
use sekisho_store::TokenRecord;

use super::Operator;
use super::problem::Refused;
use crate::domain::Shared;
use crate::tokens;

#[utoipa::path(post, path = "/v1/tokens", request_body = TokenRequest, responses((status = 201, body = TokenForm), (status = 400, body = Problem)))]
pub(super) async fn create(
    State(domain): State<Shared>,
    Extension(by): Extension<Operator>,
    Json(request): Json<TokenRequest>,
) -> Result<(StatusCode, Json<TokenForm>), Refused> {
    let made = tokens::create(&domain, request.agent_id.as_deref(), request.token, request.ttl, by.name()).await?;
    let form = TokenForm {
        id: made.id,
        token: made.token,
        agent_id: made.agent_id.to_string(),
        expires_at: made.expires_at.seconds(),
    };
    Ok((StatusCode::CREATED, Json(form)))
}

#[utoipa::path(get, path = "/v1/tokens", responses((status = 200, body = Vec<TokenRow>)))]
pub(super) async fn list(State(domain): State<Shared>) -> Result<Json<Vec<TokenRow>>, Refused> {
    Ok(Json(tokens::list(&domain).await?.iter().map(row).collect()))
}

#[utoipa::path(delete, path = "/v1/tokens/{id}", responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn revoke(
    State(domain): State<Shared>,
    Extension(by): Extension<Operator>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refused> {
    tokens::revoke(&domain, &id, by.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn row(record: &TokenRecord) -> TokenRow {
    let agent_id = record.agent_id.to_string();
    let holds_token = agent_id.rsplit('/').next().is_some_and(|name| token_hash(name).to_string() == record.hash);
    TokenRow {
        id: tokens::id_of(&record.hash),
        agent_id: (!holds_token).then_some(agent_id),
        expires_at: record.expires_at.seconds(),
        expired: record.expires_at <= now(),
    }
}
