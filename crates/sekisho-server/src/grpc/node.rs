//! Our own service beside SPIRE's: pushed changes, issuing with evidence, records.

use sekisho_evidence::node::CertifiedAnswer;
use sekisho_evidence::{Evidence, process_evidence};
use sekisho_proto::selectors_from_wire;
use sekisho_proto::server as wire;
use sekisho_runtime::now;
use sekisho_types::UnixTime;
use tonic::{Request, Response, Status, Streaming};

use super::admission::{answer, call};
use super::checked_body::with_check;
use super::show_state::{self, Questions};
use super::status::{result_to_wire, svid_to_wire};
use super::streams::recorded;
use super::svid;
use crate::caller::AgentCaller;
use crate::commands::{IssueJwt, Record, ShownKey};
use crate::denied::Denied;
use crate::issue::IssueError;
use crate::watch::{self, Changes};

pub(crate) struct Service;

#[tonic::async_trait]
impl wire::node_server::Node for Service {
    type WatchStream = Changes;
    type ShowStateStream = Questions;

    async fn watch(&self, request: Request<Streaming<wire::WatchRequest>>) -> Result<Response<Changes>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        if !call.domain().limits.budgets.stream(call.caller.id.get(), now()) {
            let status = Status::resource_exhausted(
                "this agent opens streams too often; keep one open, and wait before the next",
            );
            return Err(call.refuse(status).await.into_error());
        }
        Ok(Response::new(recorded(call.clone(), watch::open(call, request.into_inner()))))
    }

    async fn show_state(
        &self,
        request: Request<Streaming<wire::ShowStateRequest>>,
    ) -> Result<Response<Questions>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        if !call.domain().limits.budgets.state_stream(call.caller.id.get(), now()) {
            let status = Status::resource_exhausted("this agent opens streams of its state too often; keep one open");
            return Err(call.refuse(status).await.into_error());
        }
        let questions = show_state::open(call.clone(), request.into_inner())?;
        Ok(Response::new(recorded(call, questions)))
    }

    async fn issue_x509(
        &self,
        request: Request<wire::IssueX509Request>,
    ) -> Result<Response<wire::IssueX509Response>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        let items = request.into_inner().items;
        svid::check_count(items.len())?;
        let exporter = call.peer().map(|peer| peer.exporter).ok_or_else(|| Status::from(Denied::NoSvid))?;
        let asked = items.into_iter().map(|item| {
            let process = evidence_from_wire(item.evidence.as_ref())?;
            let key = item.key.map(|wire::KeyCertification { public, attest, signature }| ShownKey {
                certified: CertifiedAnswer { public, attest, signature },
                exporter,
            });
            svid::asked(&item.entry_id, item.csr, (Some(process), key))
        });
        let (results, final_check) = svid::issue(&call, asked.collect()).await?;
        let results = results.into_iter().map(|result| {
            let index = result.as_ref().map_or(0, |(issued, _)| issued.log_index);
            let (status, svid) = result_to_wire(result.map(|(issued, entry)| svid_to_wire(&issued, &entry.hint)));
            wire::issue_x509_response::Result { status: Some(status), svid, log_index: index }
        });
        Ok(with_check(wire::IssueX509Response { results: results.collect() }, final_check))
    }

    async fn issue_jwt(
        &self,
        request: Request<wire::IssueJwtRequest>,
    ) -> Result<Response<wire::IssueJwtResponse>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        let request = request.into_inner();
        let process = evidence_from_wire(request.evidence.as_ref()).map_err(Status::from);
        let command = process.and_then(|process| {
            let entry = svid::entry_id(&request.entry_id)?;
            Ok(IssueJwt { entry, audience: request.audience, process: Some(process) })
        });
        let (issued, entry) = answer(&call, command).await?;
        let (log_index, final_check) = (issued.log_index, svid::jwt_final_check(&call.caller, &issued, &entry));
        let svid = Some(svid::jwt_to_wire(issued, &entry));
        Ok(with_check(wire::IssueJwtResponse { svid, log_index }, final_check))
    }

    async fn record(&self, request: Request<wire::RecordRequest>) -> Result<Response<wire::RecordResponse>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        let wire::RecordRequest { records, lost, batch_key } = request.into_inner();
        let log_index = answer(&call, Ok(Record { batch_key, records, lost })).await?;
        Ok(Response::new(wire::RecordResponse { log_index }))
    }
}

/// What an agent shows of a process.
fn evidence_from_wire(evidence: Option<&wire::ProcessEvidence>) -> Result<Evidence, IssueError> {
    let missing = || IssueError::Malformed("`evidence` is missing; SPIRE's SVID service issues without it".into());
    let evidence = evidence.ok_or_else(missing)?;
    let selectors = selectors_from_wire(&evidence.selectors).map_err(|e| IssueError::Malformed(e.to_string()))?;
    Ok(process_evidence(&evidence.source, UnixTime::from_nanos(evidence.measured_at_ns), selectors)?)
}
