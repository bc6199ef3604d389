//! Our own service beside SPIRE's: pushed changes, issuing with evidence, records.

use std::pin::Pin;
use std::sync::PoisonError;

use futures_util::{Stream, StreamExt};
use sekisho_evidence::{Evidence, process_evidence};
use sekisho_identity::{Shown, Standing};
use sekisho_proto::selectors_from_wire;
use sekisho_proto::server as wire;
use sekisho_runtime::now;
use sekisho_types::UnixTime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::status::{result_to_wire, svid_to_wire};
use super::svid;
use crate::caller::AgentCaller;
use crate::domain::Shared;
use crate::executor::Call;
use crate::jump;
use crate::record::{self, RecordError};
use crate::refusal::Refusal;
use crate::watch;

pub(crate) struct Service(pub(crate) Shared);

type Changes = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl wire::node_server::Node for Service {
    type WatchStream = Changes;

    async fn watch(&self, request: Request<Streaming<wire::WatchRequest>>) -> Result<Response<Changes>, Status> {
        let agent = Call::<AgentCaller>::of(request.extensions())?.caller;
        let mut acknowledgements = request.into_inner();
        let (to, from) = mpsc::channel(4);
        let (domain, id) = (self.0.clone(), agent.id.get().clone());
        let shown = (agent.serial.clone(), agent.not_after);
        tokio::spawn(watch::feed(domain.clone(), id.clone(), shown, self.0.streams.changes.subscribe(), to));
        tokio::spawn(async move {
            while let Ok(Some(message)) = acknowledgements.message().await {
                tracing::debug!(agent = %id, revision = message.applied_revision, "applied");
                if agent.standing(&domain) != Standing::Good {
                    return;
                }
                jump::heard(&domain, &id, message.applied_revision).await;
                // An agent reports for the identities that it serves, and for no other's.
                let served = domain.view.read(|state| state.authorized(&agent.node, &domain.identity.server_id, now()));
                let served: Vec<String> = served.iter().map(|entry| entry.spiffe_id.to_string()).collect();
                let applied = &message.revocations_applied;
                let applied = served.iter().filter_map(|own| Some((own.clone(), *applied.get(own)?))).collect();
                domain
                    .streams
                    .revocations_applied
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(id.clone(), applied);
                let mut in_force = domain.streams.policy_in_force.lock().unwrap_or_else(PoisonError::into_inner);
                for served in served {
                    let nodes = in_force.entry(served.clone()).or_default();
                    match message.policy_in_force.get(&served) {
                        Some(revision) => drop(nodes.insert(id.clone(), *revision)),
                        None => drop(nodes.remove(&id)),
                    }
                }
                in_force.retain(|_, nodes| !nodes.is_empty());
            }
        });
        Ok(Response::new(ReceiverStream::new(from).boxed()))
    }

    async fn issue_x509(
        &self,
        request: Request<wire::IssueX509Request>,
    ) -> Result<Response<wire::IssueX509Response>, Status> {
        let call = Call::<AgentCaller>::of(request.extensions())?;
        let (agent, asker) = (&call.caller, call.caller.asker(&self.0));
        let items = request.into_inner().items;
        if items.len() > 500 {
            let status = Status::invalid_argument("a batch has at most 500 requests");
            return Err(call.refuse(status).await.into_error());
        }
        let one = |item: wire::issue_x509_request::Item| {
            let (domain, asker, agent) = (&self.0, &asker, agent);
            async move {
                let evidence = match evidence_from_wire(agent, item.evidence.as_ref()) {
                    Ok(evidence) => evidence,
                    Err(status) => return Err(svid::refuse(domain, asker, status).await),
                };
                svid::x509(domain, asker, &item.entry_id, &item.csr, (Shown::Process, &evidence)).await
            }
        };
        let results = futures_util::future::join_all(items.into_iter().map(one)).await;
        let departure = svid::departure(agent, &results);
        let results = results.into_iter().map(|result| {
            let index = result.as_ref().map_or(0, |(issued, _)| issued.log_index);
            let svid = result.map(|(issued, entry)| svid_to_wire(&issued, &entry.hint));
            let (status, svid) = result_to_wire(svid.map_err(Refusal::into_error));
            wire::issue_x509_response::Result { status: Some(status), svid, log_index: index }
        });
        Ok(svid::departing(wire::IssueX509Response { results: results.collect() }, departure))
    }

    async fn issue_jwt(
        &self,
        request: Request<wire::IssueJwtRequest>,
    ) -> Result<Response<wire::IssueJwtResponse>, Status> {
        let call = Call::<AgentCaller>::of(request.extensions())?;
        let request = request.into_inner();
        let work = async {
            let evidence = evidence_from_wire(&call.caller, request.evidence.as_ref())?;
            svid::jwt(&self.0, &call.caller, &request.entry_id, &request.audience, (Shown::Process, &evidence)).await
        };
        let jwt = call.answer(work).await?;
        let answer = wire::IssueJwtResponse { svid: Some(jwt.svid), log_index: jwt.log_index };
        Ok(svid::departing(answer, jwt.departure))
    }

    async fn record(&self, request: Request<wire::RecordRequest>) -> Result<Response<wire::RecordResponse>, Status> {
        let call = Call::<AgentCaller>::of(request.extensions())?;
        let (agent, request, domain) = (call.caller.clone(), request.into_inner(), self.0.clone());
        let turn = record::turn(&domain, &agent, &request.batch_key).await;
        // Once it is its turn, whether or not the agent stays to hear of it: half of this is no state.
        let recorded = tokio::spawn(async move {
            record::batch(&domain, &agent, turn, &request.batch_key, request.records, request.lost).await
        });
        match recorded.await.map_err(|_| Status::internal("recording failed; the server's log says why"))? {
            Ok(log_index) => Ok(Response::new(wire::RecordResponse { log_index })),
            Err(
                error @ (RecordError::Journal(_)
                | RecordError::Store(_)
                | RecordError::Disk(_)
                | RecordError::Conflict(_)),
            ) => {
                tracing::error!(%error, "records were not taken");
                Err(Status::unavailable("the server cannot record now; its log says why"))
            }
            // Its spool keeps them and sends them again.
            Err(error @ RecordError::Budget) => {
                Err(call.refuse(Status::resource_exhausted(error.to_string())).await.into_error())
            }
            Err(error) => Err(call.refuse(Status::invalid_argument(error.to_string())).await.into_error()),
        }
    }
}

/// What an agent shows of a process, on top of what it showed of itself.
fn evidence_from_wire(agent: &AgentCaller, evidence: Option<&wire::ProcessEvidence>) -> Result<Evidence, Status> {
    let evidence = evidence
        .ok_or_else(|| Status::invalid_argument("`evidence` is missing; SPIRE's SVID service issues without it"))?;
    let selectors = selectors_from_wire(&evidence.selectors).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let at = UnixTime::from_nanos(evidence.measured_at_ns);
    let process = process_evidence(&evidence.source, at, selectors);
    let process = process.map_err(|e| Status::invalid_argument(e.to_string()))?;
    agent.evidence()?.with(process).map_err(|e| Status::invalid_argument(e.to_string()))
}
