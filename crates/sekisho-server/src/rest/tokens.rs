use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_evidence::token_hash;
use sekisho_runtime::now;
use sekisho_store::TokenRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Operator;
use super::problem::Problem;
use crate::domain::Shared;
use crate::tokens;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// Seconds, at most 604800.
    ttl: u32,
    /// 16 to 128 characters; drawn at random when absent.
    #[serde(default)]
    token: Option<String>,
    /// Name or SPIFFE ID of the agent that will attest with it; a new one when absent. An agent that joins again under its
    /// own ID keeps what is registered for it.
    #[serde(default)]
    agent_id: Option<String>,
}

/// A join token. It is shown here once and stored as a hash.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenForm {
    /// For listing and revoking it.
    id: String,
    token: String,
    /// The SPIFFE ID of the agent that will attest with it.
    agent_id: String,
    /// Unix seconds.
    expires_at: i64,
}

/// A token that was not used, without the token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenRow {
    id: String,
    /// Absent if the ID holds the token, as those of earlier versions do.
    agent_id: Option<String>,
    /// Unix seconds.
    expires_at: i64,
    expired: bool,
}

impl From<&TokenRecord> for TokenRow {
    fn from(record: &TokenRecord) -> Self {
        let agent_id = record.agent_id.to_string();
        let holds_token = agent_id.rsplit('/').next().is_some_and(|name| token_hash(name).to_string() == record.hash);
        Self {
            id: tokens::id_of(&record.hash),
            agent_id: (!holds_token).then_some(agent_id),
            expires_at: record.expires_at.seconds(),
            expired: record.expires_at <= now(),
        }
    }
}

#[utoipa::path(post, path = "/v1/tokens", request_body = TokenRequest, responses((status = 201, body = TokenForm), (status = 400, body = Problem)))]
pub(super) async fn create(
    State(domain): State<Shared>,
    Extension(by): Extension<Operator>,
    Json(request): Json<TokenRequest>,
) -> Result<(StatusCode, Json<TokenForm>), Problem> {
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
pub(super) async fn list(State(domain): State<Shared>) -> Result<Json<Vec<TokenRow>>, Problem> {
    Ok(Json(tokens::list(&domain).await?.iter().map(TokenRow::from).collect()))
}

#[utoipa::path(delete, path = "/v1/tokens/{id}", responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn revoke(
    State(domain): State<Shared>,
    Extension(by): Extension<Operator>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    tokens::revoke(&domain, &id, by.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
