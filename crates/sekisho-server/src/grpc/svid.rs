use sekisho_identity::{Caller, Csr, Entry, Request as GateRequest};
use sekisho_net::on_record;
use sekisho_proto::spire::svid::v1 as wire;
use sekisho_proto::{id_to_wire, types};
use sekisho_types::{EntryId, Evidence};
use std::sync::Arc;
use tonic::{Code, Request, Response, Status};

use super::agent::svid_to_wire;
use super::{AgentCaller, issue_status, not_logged};
use crate::domain::Shared;
use crate::issue::{self, IssueError, IssuedX509};

/// SPIRE's agents ask for 500 at most.
const MAX_ITEMS: usize = 500;

pub(crate) struct Service(pub(crate) Shared);

#[tonic::async_trait]
impl wire::svid_server::Svid for Service {
    async fn batch_new_x509svid(
        &self,
        request: Request<wire::BatchNewX509svidRequest>,
    ) -> Result<Response<wire::BatchNewX509svidResponse>, Status> {
        let caller = AgentCaller::of(&self.0, request.extensions())?.caller(&self.0);
        let params = request.into_inner().params;
        if params.len() > MAX_ITEMS {
            return Err(Status::invalid_argument(format!("a batch has at most {MAX_ITEMS} requests")));
        }
        // All at once, so that their leaves share one fsync.
        let items = params.iter().map(|item| x509(&self.0, &caller, &item.entry_id, &item.csr, &[]));
        let results = futures_util::future::join_all(items).await.into_iter().map(|result| {
            let (status, svid) = result_to_wire(result.map(|(issued, entry)| svid_to_wire(&issued, &entry.hint)));
            wire::batch_new_x509svid_response::Result { status: Some(status), svid }
        });
        Ok(Response::new(wire::BatchNewX509svidResponse { results: results.collect() }))
    }

    async fn new_jwtsvid(
        &self,
        request: Request<wire::NewJwtsvidRequest>,
    ) -> Result<Response<wire::NewJwtsvidResponse>, Status> {
        let caller = AgentCaller::of(&self.0, request.extensions())?.caller(&self.0);
        let request = request.into_inner();
        let (svid, _) = jwt(&self.0, &caller, &request.entry_id, &request.audience, &[]).await?;
        Ok(Response::new(wire::NewJwtsvidResponse { svid: Some(svid) }))
    }
}

async fn entry(domain: &Shared, caller: &Caller, id: &str) -> Result<Arc<Entry>, Status> {
    let known = EntryId::parse(id).map_err(|e| Status::invalid_argument(e.to_string()));
    let found = known.and_then(|id| {
        let found = domain.view.read(|state| state.entries.get(&id).cloned());
        found.ok_or_else(|| Status::not_found(format!("no entry `{id}` that this agent serves")))
    });
    match found {
        Ok(entry) => Ok(entry),
        Err(status) => Err(refuse(domain, caller, status).await),
    }
}

/// A refusal of something that did not come as far as the gate, which logs its own.
pub(super) async fn refuse(domain: &Shared, caller: &Caller, status: Status) -> Status {
    let logged = issue::refused(domain, &issue::caller_name(caller), status.message()).await;
    logged.map_or_else(|_| not_logged(), |_| on_record(status, None))
}

/// One X.509-SVID for an entry, through the gate.
pub(crate) async fn x509(
    domain: &Shared,
    caller: &Caller,
    entry_id: &str,
    csr: &[u8],
    evidence: &[Evidence],
) -> Result<(IssuedX509, Arc<Entry>), Status> {
    let entry = entry(domain, caller, entry_id).await?;
    let csr = match Csr::verify(csr) {
        Ok(csr) => csr,
        Err(error) => return Err(refuse(domain, caller, Status::invalid_argument(error.to_string())).await),
    };
    let request = GateRequest::WorkloadX509 { entry: &entry, csr: &csr };
    let issued = issue::x509(domain, caller, request, evidence).await.map_err(|e: IssueError| issue_status(&e))?;
    Ok((issued, entry))
}

/// One JWT-SVID for an entry, through the gate, and its place in the log.
pub(crate) async fn jwt(
    domain: &Shared,
    caller: &Caller,
    entry_id: &str,
    audience: &[String],
    evidence: &[Evidence],
) -> Result<(types::Jwtsvid, u64), Status> {
    let entry = entry(domain, caller, entry_id).await?;
    let request = GateRequest::WorkloadJwt { entry: &entry, audience };
    let issued = issue::jwt(domain, caller, request, evidence, audience).await;
    let issued = issued.map_err(|e| issue_status(&e))?;
    let svid = types::Jwtsvid {
        token: issued.token,
        id: Some(id_to_wire(&issued.spiffe_id)),
        expires_at: issued.expires_at.seconds(),
        issued_at: issued.issued_at.seconds(),
        hint: entry.hint.clone(),
    };
    Ok((svid, issued.log_index))
}

pub(crate) fn result_to_wire<T>(result: Result<T, Status>) -> (types::Status, Option<T>) {
    match result {
        Ok(value) => (types::Status { code: Code::Ok as i32, message: "OK".into() }, Some(value)),
        Err(status) => (types::Status { code: status.code() as i32, message: status.message().to_owned() }, None),
    }
}
