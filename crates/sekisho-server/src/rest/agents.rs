use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use sekisho_api::{AgentForm, AgentList, AgentRef, AgentsQuery, AttestationForm, EvidenceQuery};

use super::problem::Refused;
use crate::caller::Operator;
use crate::commands::{AskState, BanAgent, EvictAgent};
use crate::executor::Call;
use crate::queries::{ListAgents, ShowEvidence};

#[cfg_attr(test, utoipa::path(get, path = "/v1/agents", operation_id = "list_agents", params(AgentsQuery),
    responses((status = 200, body = AgentList), (status = 400, body = sekisho_api::Problem))))]
pub(super) async fn list(
    Extension(call): Extension<Call<Operator>>,
    Query(query): Query<AgentsQuery>,
) -> Result<Json<AgentList>, Refused> {
    let agents = call.ask(ListAgents { id: query.spiffe_id()? }).await;
    Ok(Json(AgentList { agents: agents.iter().map(|node| AgentForm::from(node.as_ref())).collect() }))
}

#[cfg_attr(test, utoipa::path(delete, path = "/v1/agents", operation_id = "evict_agent", params(AgentRef),
    responses((status = 204), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn evict(
    Extension(call): Extension<Call<Operator>>,
    Query(agent): Query<AgentRef>,
) -> Result<StatusCode, Refused> {
    call.execute(EvictAgent { id: agent.spiffe_id()? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg_attr(test, utoipa::path(post, path = "/v1/agents/ban", operation_id = "ban_agent", request_body = AgentRef,
    responses((status = 204), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn ban(
    Extension(call): Extension<Call<Operator>>,
    Json(agent): Json<AgentRef>,
) -> Result<StatusCode, Refused> {
    call.execute(BanAgent { id: agent.spiffe_id()? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg_attr(test, utoipa::path(post, path = "/v1/agents/attest", operation_id = "attest_agent", request_body = AgentRef,
    responses((status = 200, body = AttestationForm), (status = 404, body = sekisho_api::Problem),
        (status = 409, body = sekisho_api::Problem))))]
pub(super) async fn attest(
    Extension(call): Extension<Call<Operator>>,
    Json(agent): Json<AgentRef>,
) -> Result<Json<AttestationForm>, Refused> {
    let AgentRef { id } = &agent;
    let reason = call.execute(AskState { id: agent.spiffe_id()? }).await?;
    Ok(Json(AttestationForm { id: id.clone(), accepted: reason.is_none(), reason }))
}

/// What a node showed, as a file that `sekisho attest verify` checks.
#[cfg_attr(test, utoipa::path(get, path = "/v1/agents/evidence", operation_id = "show_evidence",
    params(EvidenceQuery), responses((status = 200, body = String, content_type = "application/octet-stream"),
        (status = 400, body = sekisho_api::Problem), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn evidence(
    Extension(call): Extension<Call<Operator>>,
    Query(query): Query<EvidenceQuery>,
) -> Result<impl IntoResponse, Refused> {
    let asked = match query.digest()? {
        Some(sha256) => ShowEvidence::Named(sha256),
        None => ShowEvidence::Of(query.spiffe_id()?),
    };
    let file = call.ask(asked).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], file))
}
