use sekisho_evidence::Evidence;
use sekisho_identity::{Csr, Entry, Request as GateRequest, Shown};
use sekisho_proto::spire::svid::v1 as wire;
use sekisho_proto::{id_to_wire, types};
use sekisho_types::EntryId;
use std::sync::Arc;
use tonic::{Request, Response, Status};

use super::status::{issue_status, result_to_wire, svid_to_wire};
use crate::caller::AgentCaller;
use crate::departure::{Departure, Issued};
use crate::domain::Shared;
use crate::executor::Call;
use crate::issue::{self, Asker, IssuedX509};
use crate::refusal::{Ended, Recorded, Refusal};

/// SPIRE's agents ask for 500 at most.
const MAX_ITEMS: usize = 500;

pub(crate) struct Service(pub(crate) Shared);

#[tonic::async_trait]
impl wire::svid_server::Svid for Service {
    async fn batch_new_x509svid(
        &self,
        request: Request<wire::BatchNewX509svidRequest>,
    ) -> Result<Response<wire::BatchNewX509svidResponse>, Status> {
        let call = Call::<AgentCaller>::of(request.extensions())?;
        let (agent, asker) = (&call.caller, call.caller.asker(&self.0));
        let params = request.into_inner().params;
        if params.len() > MAX_ITEMS {
            let status = Status::invalid_argument(format!("a batch has at most {MAX_ITEMS} requests"));
            return Err(call.refuse(status).await.into_error());
        }
        // All at once, so that their leaves share one fsync.
        let evidence = agent.evidence()?;
        let basis = (Shown::NodeOnly, &evidence);
        let items = params.iter().map(|item| x509(&self.0, &asker, &item.entry_id, &item.csr, basis));
        let results = futures_util::future::join_all(items).await;
        let departure = departure(agent, &results);
        let results = results.into_iter().map(|result| {
            let svid = result.map(|(issued, entry)| svid_to_wire(&issued, &entry.hint));
            let (status, svid) = result_to_wire(svid.map_err(Refusal::into_error));
            wire::batch_new_x509svid_response::Result { status: Some(status), svid }
        });
        let answer = wire::BatchNewX509svidResponse { results: results.collect() };
        Ok(departing(answer, departure))
    }

    async fn new_jwtsvid(
        &self,
        request: Request<wire::NewJwtsvidRequest>,
    ) -> Result<Response<wire::NewJwtsvidResponse>, Status> {
        let call = Call::<AgentCaller>::of(request.extensions())?;
        let request = request.into_inner();
        let work = async {
            let evidence = call.caller.evidence()?;
            jwt(&self.0, &call.caller, &request.entry_id, &request.audience, (Shown::NodeOnly, &evidence)).await
        };
        let jwt = call.answer(work).await?;
        Ok(departing(wire::NewJwtsvidResponse { svid: Some(jwt.svid) }, jwt.departure))
    }
}

/// An identity that was issued by an entry, or why not.
pub(super) type Given = Result<(IssuedX509, Arc<Entry>), Refusal<Status>>;

/// What the connection is to judge once more before it takes an answer with these identities.
pub(super) fn departure(agent: &AgentCaller, results: &[Given]) -> Departure {
    let issued = results.iter().flatten().map(|(issued, entry)| Issued {
        log_id: issued.log_id,
        entry: Some(entry.clone()),
        judged_at: issued.judged_at,
    });
    Departure::new(agent.id.get().clone(), agent.serial.clone(), issued.collect())
}

pub(super) fn departing<T>(answer: T, departure: Departure) -> Response<T> {
    let mut response = Response::new(answer);
    response.extensions_mut().insert(departure);
    response
}

/// The entry that an agent names.
fn entry(domain: &Shared, id: &str) -> Result<Arc<Entry>, Status> {
    let id = EntryId::parse(id).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let found = domain.view.read(|state| state.entries.get(&id).cloned());
    found.ok_or_else(|| Status::not_found(format!("no entry `{id}` that this agent serves")))
}

/// A refusal of something that did not come as far as the gate, which records its own.
pub(super) async fn refuse(domain: &Shared, asker: &Asker, status: Status) -> Refusal<Status> {
    match issue::refused(domain, &asker.name(), status.message()).await {
        Ok(proof) => Refusal::new(status, proof),
        Err(error) => Refusal::new(error.into(), Recorded::in_count()),
    }
}

/// One X.509-SVID for an entry, through the gate.
pub(super) async fn x509(
    domain: &Shared,
    asker: &Asker,
    entry_id: &str,
    csr: &[u8],
    (shown, evidence): (Shown, &Evidence),
) -> Given {
    let asked = entry(domain, entry_id)
        .and_then(|entry| Ok((entry, Csr::verify(csr).map_err(|e| Status::invalid_argument(e.to_string()))?)));
    let (entry, csr) = match asked {
        Ok(asked) => asked,
        Err(status) => return Err(refuse(domain, asker, status).await),
    };
    let request = GateRequest::WorkloadX509 { entry: &entry, csr: &csr, shown, evidence };
    match issue::x509(domain, asker, request).await {
        Ok(issued) => Ok((issued, entry)),
        Err(Ended::Refused(refusal)) => Err(refusal.map(|error| issue_status(&error))),
        Err(Ended::Fault(error)) => Err(refuse_if_asked(domain, asker, issue_status(&error)).await),
    }
}

/// Our own failure is not a refusal.
async fn refuse_if_asked(domain: &Shared, asker: &Asker, status: Status) -> Refusal<Status> {
    match Recorded::no_refusal(&status) {
        Some(proof) => Refusal::new(status, proof),
        None => refuse(domain, asker, status).await,
    }
}

/// A JWT-SVID for the wire, its place in the log, and what is judged once more before it leaves.
pub(crate) struct Jwt {
    pub svid: types::Jwtsvid,
    pub log_index: u64,
    pub departure: Departure,
}

/// One JWT-SVID for an entry, through the gate.
pub(super) async fn jwt(
    domain: &Shared,
    agent: &AgentCaller,
    entry_id: &str,
    audience: &[String],
    (shown, evidence): (Shown, &Evidence),
) -> Result<Jwt, Ended<Status>> {
    let asker = agent.asker(domain);
    let entry = match entry(domain, entry_id) {
        Ok(entry) => entry,
        Err(status) => return Err(Ended::Refused(refuse(domain, &asker, status).await)),
    };
    let request = GateRequest::WorkloadJwt { entry: &entry, audience, shown, evidence };
    let issued = issue::jwt(domain, &asker, request, audience).await;
    let issued = issued.map_err(|ended| ended.map(|error| issue_status(&error)))?;
    let svid = types::Jwtsvid {
        token: issued.token,
        id: Some(id_to_wire(&issued.spiffe_id)),
        expires_at: issued.expires_at.seconds(),
        issued_at: issued.issued_at.seconds(),
        hint: entry.hint.clone(),
    };
    let leaves = Issued { log_id: issued.log_id, entry: Some(entry), judged_at: issued.judged_at };
    Ok(Jwt {
        svid,
        log_index: issued.log_index,
        departure: Departure::new(agent.id.get().clone(), agent.serial.clone(), vec![leaves]),
    })
}
