use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_api::{AgentForm, AgentList, AgentRef, Problem};

use super::Operator;
use super::problem::Refused;
use crate::domain::Shared;
use crate::registration;

#[utoipa::path(get, path = "/v1/agents", responses((status = 200, body = AgentList)))]
pub(super) async fn list(State(domain): State<Shared>) -> Json<AgentList> {
    let agents = domain.view.read(|state| state.nodes.values().map(|node| AgentForm::from(node.as_ref())).collect());
    Json(AgentList { agents })
}

#[utoipa::path(delete, path = "/v1/agents", params(AgentRef), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn evict(
    State(domain): State<Shared>,
    Extension(by): Extension<Operator>,
    Query(agent): Query<AgentRef>,
) -> Result<StatusCode, Refused> {
    registration::evict(&domain, agent.spiffe_id()?, by.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(post, path = "/v1/agents/ban", request_body = AgentRef, responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn ban(
    State(domain): State<Shared>,
    Extension(by): Extension<Operator>,
    Json(agent): Json<AgentRef>,
) -> Result<StatusCode, Refused> {
    registration::ban(&domain, agent.spiffe_id()?, by.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
