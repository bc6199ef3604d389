use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_types::SpiffeId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Operator;
use super::forms::AgentForm;
use super::problem::Problem;
use crate::domain::Shared;
use crate::registration;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentList {
    agents: Vec<AgentForm>,
}

/// Names one agent.
#[derive(Debug, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentRef {
    /// The agent's SPIFFE ID.
    id: String,
}

impl AgentRef {
    fn parse(&self) -> Result<SpiffeId, Problem> {
        SpiffeId::parse(&self.id).map_err(|e| Problem::invalid(format!("`id`: {e}")))
    }
}

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
) -> Result<StatusCode, Problem> {
    registration::evict(&domain, agent.parse()?, by.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(post, path = "/v1/agents/ban", request_body = AgentRef, responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn ban(
    State(domain): State<Shared>,
    Extension(by): Extension<Operator>,
    Json(agent): Json<AgentRef>,
) -> Result<StatusCode, Problem> {
    registration::ban(&domain, agent.parse()?, by.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
