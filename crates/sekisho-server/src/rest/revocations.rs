use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use sekisho_identity::{Revocation, Revoked};
use sekisho_types::{EntryId, SpiffeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Operator;
use super::problem::Problem;
use crate::domain::Shared;
use crate::revocations::{self, Applied, Order};

/// What to revoke: exactly one of `entry`, `agent`, `spiffe_id` and `serial`. SVIDs that were issued before are refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevocationRequest {
    /// Id of an entry.
    #[serde(default)]
    entry: Option<String>,
    /// SPIFFE ID of an agent: its own SVIDs and all that it asked for. It must attest again.
    #[serde(default)]
    agent: Option<String>,
    /// SPIFFE ID of a workload.
    #[serde(default)]
    spiffe_id: Option<String>,
    /// Serial number of an X.509-SVID, `jti` of a JWT-SVID, or `iss_…`.
    #[serde(default)]
    serial: Option<String>,
    /// One line; it is in the log as a commitment, and peers hear it.
    #[serde(default)]
    reason: String,
    /// Only say what would be cut off.
    #[serde(default)]
    dry_run: bool,
}

impl RevocationRequest {
    fn order(&self) -> Result<Order, Problem> {
        let id = |text: &str| SpiffeId::parse(text).map_err(|e| Problem::invalid(format!("`{text}`: {e}")));
        match (&self.entry, &self.agent, &self.spiffe_id, &self.serial) {
            (Some(entry), None, None, None) => {
                Ok(Order::Entry(EntryId::parse(entry).map_err(|e| Problem::invalid(e.to_string()))?))
            }
            (None, Some(agent), None, None) => Ok(Order::Agent(id(agent)?)),
            (None, None, Some(spiffe_id), None) => Ok(Order::SpiffeId(id(spiffe_id)?)),
            (None, None, None, Some(serial)) => Ok(Order::serial(serial)?),
            _ => Err(Problem::invalid("give exactly one of `entry`, `agent`, `spiffe_id` and `serial`")),
        }
    }
}

/// What a revocation would cut off.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RevocationPlan {
    cuts: Vec<String>,
    then: String,
    /// Unix seconds until which it would be kept.
    until: i64,
}

/// SVIDs that are refused although they have not expired.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RevocationForm {
    /// `entry`, `agent`, `spiffe_id` or `serial`.
    kind: &'static str,
    /// The entry's id, a SPIFFE ID or a serial number.
    what: String,
    /// The SPIFFE ID that the entry gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_id: Option<String>,
    /// Unix seconds.
    since: i64,
    /// Unix seconds at which the last SVID that it can concern expires.
    until: i64,
    /// SVIDs that were issued by an earlier revision are refused.
    revision: u64,
    reason: String,
}

impl From<&Revocation> for RevocationForm {
    fn from(revocation: &Revocation) -> Self {
        let (kind, what, spiffe_id) = match &revocation.what {
            Revoked::Entry { id, spiffe_id } => ("entry", id.as_str().to_owned(), Some(spiffe_id.to_string())),
            Revoked::Agent(id) => ("agent", id.to_string(), None),
            Revoked::SpiffeId(id) => ("spiffe_id", id.to_string(), None),
            Revoked::Serial(serial) => ("serial", serial.clone(), None),
        };
        Self {
            kind,
            what,
            spiffe_id,
            since: revocation.at.seconds(),
            until: revocation.until.seconds(),
            revision: revocation.revision.0,
            reason: revocation.reason.clone(),
        }
    }
}

/// The revocations in force, and what each sidecar has applied.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RevocationList {
    revocations: Vec<RevocationRow>,
    /// Those of connected nodes, and of nodes whose agent's SVID has not expired.
    sidecars: Vec<SidecarForm>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RevocationRow {
    #[serde(flatten)]
    revocation: RevocationForm,
    /// How many of the sidecars have applied it, and how many have not yet.
    applied: usize,
    waiting: usize,
}

/// A sidecar, or several that speak for one identity on one node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SidecarForm {
    agent: String,
    /// Of its workload.
    spiffe_id: String,
    /// It has applied the revocations of this revision and of all earlier ones.
    applied_revision: u64,
}

impl From<&Applied> for SidecarForm {
    fn from(applied: &Applied) -> Self {
        let (agent, spiffe_id) = (applied.agent.to_string(), applied.spiffe_id.clone());
        Self { agent, spiffe_id, applied_revision: applied.revision }
    }
}

#[utoipa::path(get, path = "/v1/revocations", responses((status = 200, body = RevocationList)))]
pub(super) async fn list(State(domain): State<Shared>) -> Json<RevocationList> {
    let (revocations, sidecars) = revocations::list(&domain);
    let mut revisions: Vec<u64> = sidecars.iter().map(|sidecar| sidecar.revision).collect();
    revisions.sort_unstable();
    let row = |revocation: &Revocation| {
        let waiting = revisions.partition_point(|applied| *applied < revocation.revision.0);
        RevocationRow { revocation: revocation.into(), applied: revisions.len() - waiting, waiting }
    };
    let rows = revocations.iter().map(row).collect();
    Json(RevocationList { revocations: rows, sidecars: sidecars.iter().map(SidecarForm::from).collect() })
}

#[utoipa::path(
    post,
    path = "/v1/revocations",
    request_body = RevocationRequest,
    responses(
        (status = 200, body = RevocationPlan),
        (status = 201, body = RevocationForm),
        (status = 400, body = Problem),
        (status = 404, body = Problem),
    )
)]
pub(super) async fn create(
    State(domain): State<Shared>,
    Extension(by): Extension<Operator>,
    Json(request): Json<RevocationRequest>,
) -> Result<Response, Problem> {
    let plan = revocations::plan(&domain, request.order()?).await?;
    if request.dry_run {
        let plan = RevocationPlan { cuts: plan.cuts, then: plan.then.to_owned(), until: plan.until.seconds() };
        return Ok(Json(plan).into_response());
    }
    let made = revocations::create(&domain, plan, &request.reason, by.name()).await?;
    Ok((StatusCode::CREATED, Json(RevocationForm::from(&made))).into_response())
}
