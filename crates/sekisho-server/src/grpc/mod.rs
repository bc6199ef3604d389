//! The gRPC services, and who may call them.

mod agent;
mod bundle;
mod entry;
mod entry_mask;
mod entry_sync;
mod node;
mod svid;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::middleware::Next;
use axum::response::Response as HttpResponse;

use sekisho_evidence::Evidence;
use sekisho_identity::{Node, Refusal, Standing};
use sekisho_net::{TlsPeer, grpc_only, mark_recorded, on_record, unrecorded_refusal};
use sekisho_proto::types::permission_denied_details::Reason;
use sekisho_proto::{reason_status, server as own, spire};
use sekisho_runtime::now;
use sekisho_types::{SpiffeId, UnixTime, Verified};
use tonic::service::Routes;
use tonic::{Code, Extensions, Status};
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::attest;
use crate::departure::judged_last;
use crate::domain::{Domain, Shared};
use crate::issue::{Asker, IssueError};
use crate::refusals;
use crate::rest::Operator;

/// Largest message accepted, in bytes.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// All services of the server.
pub(crate) fn routes<H: Health>(
    domain: &Shared,
    health: HealthServer<H>,
) -> Result<Router, tonic_reflection::server::Error> {
    let agent = spire::agent::v1::agent_server::AgentServer::new(agent::Service(domain.clone()));
    let bundle = spire::bundle::v1::bundle_server::BundleServer::new(bundle::Service(domain.clone()));
    let entry = spire::entry::v1::entry_server::EntryServer::new(entry::Service(domain.clone()));
    let svid = spire::svid::v1::svid_server::SvidServer::new(svid::Service(domain.clone()));
    let node = own::node_server::NodeServer::new(node::Service(domain.clone()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(sekisho_proto::FILE_DESCRIPTORS)
        .build_v1()?;
    let mut routes = Routes::builder();
    routes
        .add_service(agent.max_decoding_message_size(MAX_MESSAGE))
        .add_service(bundle.max_decoding_message_size(MAX_MESSAGE))
        .add_service(entry.max_decoding_message_size(MAX_MESSAGE))
        .add_service(svid.max_decoding_message_size(MAX_MESSAGE))
        .add_service(node.max_decoding_message_size(MAX_MESSAGE))
        .add_service(health)
        .add_service(reflection);
    let router = routes.routes().into_axum_router().layer(axum::middleware::from_fn(grpc_only));
    let router = router.layer(axum::middleware::from_fn_with_state(domain.clone(), judged_last));
    Ok(router.layer(axum::middleware::from_fn_with_state(domain.clone(), logged)))
}

/// The agent behind a call, as its SVID names it, and how it stands.
pub(crate) struct AgentCaller {
    pub id: Verified<SpiffeId>,
    pub serial: String,
    pub not_after: UnixTime,
    pub node: Arc<Node>,
}

impl AgentCaller {
    /// Fails with the status details that make an agent attest again, or stop.
    pub(crate) async fn of(domain: &Shared, extensions: &Extensions) -> Result<Self, Status> {
        let agent = Self::known(domain, extensions)?;
        // The first use of a successor ends what came before it, whoever may still hold that.
        if agent.node.previous_serial.is_some() && agent.node.serial == agent.serial {
            let retired = attest::retire_previous(domain, agent.id.get(), &agent.serial).await;
            retired.map_err(|_| Status::unavailable("the server cannot write now; its log says why"))?;
        }
        Ok(agent)
    }

    /// What it proved, on which all that it asks for rests.
    pub(crate) fn evidence(&self) -> Result<Evidence, Status> {
        self.node.evidence().map_err(|error| {
            tracing::error!(%error, agent = %self.id.get(), "what is stored of the agent's attestation is not understood");
            reason_status("the agent must attest again", Reason::AgentNotAttested)
        })
    }

    fn known(domain: &Shared, extensions: &Extensions) -> Result<Self, Status> {
        let leaf = extensions.get::<Arc<TlsPeer>>().and_then(|peer| peer.leaf.as_ref());
        let leaf = leaf
            .ok_or_else(|| Status::permission_denied("this call needs an agent's SVID as client certificate"))?
            .get();
        if !leaf.spiffe_id.path().starts_with("/spire/agent/") {
            return Err(Status::permission_denied("the client certificate is not an agent's"));
        }
        // A connection may outlive the SVID that opened it.
        if leaf.not_after <= now() {
            return Err(reason_status("the agent's SVID has expired", Reason::AgentExpired));
        }
        let node = domain.view.read(|state| state.nodes.get(&leaf.spiffe_id).cloned());
        match (Node::standing(node.as_deref(), &leaf.serial), node) {
            (Standing::Good, Some(node)) => Ok(Self {
                id: Verified::assertion(leaf.spiffe_id.clone()),
                serial: leaf.serial.clone(),
                not_after: leaf.not_after,
                node,
            }),
            (standing, _) => Err(denied(standing)),
        }
    }

    /// The agent as it stands now, for the gate: a ban may have come since the call began.
    pub(crate) fn asker(&self, domain: &Domain) -> Asker {
        Asker::agent(domain, self.id.clone(), self.serial.clone())
    }

    /// How it stands now.
    pub(crate) fn standing(&self, domain: &Domain) -> Standing {
        domain.view.read(|state| Node::standing(state.nodes.get(self.id.get()).map(AsRef::as_ref), &self.serial))
    }
}

/// The status for an agent that does not stand well.
pub(crate) fn denied(standing: Standing) -> Status {
    match standing {
        Standing::Banned => reason_status("the agent is banned", Reason::AgentBanned),
        Standing::Superseded => reason_status("the agent's SVID was replaced by a later one", Reason::AgentNotActive),
        Standing::Unknown | Standing::Good => reason_status("the agent is not attested here", Reason::AgentNotAttested),
    }
}

/// A refusal of a peer is in the log before the peer hears of it (law L5), whoever refused.
async fn logged(State(domain): State<Shared>, request: HttpRequest, next: Next) -> HttpResponse {
    let peer = request.extensions().get::<Arc<TlsPeer>>().cloned();
    let mut answer = next.run(request).await;
    let Some((peer, refused)) = peer.zip(unrecorded_refusal(answer.headers())) else { return answer };
    match refusals::log_peer(&domain, &peer, refused.message()).await {
        Ok(()) => {
            mark_recorded(answer.headers_mut());
            answer
        }
        Err(error) => {
            tracing::error!(%error, "a refusal was not logged");
            not_logged().into_http()
        }
    }
}

pub(crate) fn not_logged() -> Status {
    Status::unavailable("the refusal could not be logged")
}

/// Operators: on the local socket, or with an admin entry over TLS.
pub(crate) fn operator(domain: &Shared, extensions: &Extensions) -> Result<Operator, Status> {
    let operator = Operator::of(domain, extensions.get::<Operator>(), extensions.get::<Arc<TlsPeer>>());
    let reason = "this call is for operators: use the local socket, or an SVID whose entry is `admin`";
    operator.ok_or_else(|| Status::permission_denied(reason))
}

pub(crate) fn issue_status(error: &IssueError) -> Status {
    let refusal = match error {
        IssueError::Refused(refusal) => refusal,
        IssueError::Superseded => return Status::aborted(error.to_string()),
        _ => return unissued(error),
    };
    let status = |code| Status::new(code, error.to_string());
    let status = match refusal {
        Refusal::AgentBanned(_) => denied(Standing::Banned),
        Refusal::AgentUnknown(_) => denied(Standing::Unknown),
        Refusal::AgentSuperseded(_) => denied(Standing::Superseded),
        Refusal::EntryChanged(_) => status(Code::Aborted),
        Refusal::ForeignEntry(_) | Refusal::EntryExpired(_) => status(Code::NotFound),
        Refusal::EvidenceEnded => status(Code::InvalidArgument),
        Refusal::CsrName(_) | Refusal::Audience => status(Code::InvalidArgument),
        Refusal::AuthorityEnded => status(Code::Unavailable),
        // A clock that is wrong is no decision against the process.
        Refusal::EvidenceStale(_) | Refusal::EvidenceAhead(_) => status(Code::FailedPrecondition),
        _ => status(Code::PermissionDenied),
    };
    // The gate logs what it refuses.
    on_record(status, None)
}

fn unissued(error: &IssueError) -> Status {
    if let IssueError::Budget(_) = error {
        // Counted, and the count is a leaf.
        return on_record(Status::resource_exhausted(error.to_string()), None);
    }
    if let IssueError::Form(_) = error {
        return Status::invalid_argument(error.to_string());
    }
    tracing::error!(%error, "could not issue");
    Status::unavailable("the server cannot issue now; its log says why")
}
