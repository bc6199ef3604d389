use std::sync::Arc;

use sekisho_evidence::Evidence;
use sekisho_identity::Entry;
use sekisho_proto::spire::svid::v1 as wire;
use sekisho_proto::{id_to_wire, types};
use sekisho_types::EntryId;
use tonic::{Request, Response, Status};

use super::admission::{answer, call};
use super::checked_body::with_check;
use super::status::{result_to_wire, svid_to_wire};
use crate::caller::AgentCaller;
use crate::commands::{IssueJwt, IssueX509, ShownKey, X509Request};
use crate::executor::Call;
use crate::final_check::{FinalCheck, Issued};
use crate::issue::IssueError;
use crate::issue_jwt::IssuedJwt;
use crate::issue_x509::IssuedX509;
use crate::refusal::Refusal;

/// SPIRE's agents ask for 500 at most.
const MAX_ITEMS: usize = 500;

pub(crate) struct Service;

#[tonic::async_trait]
impl wire::svid_server::Svid for Service {
    async fn batch_new_x509svid(
        &self,
        request: Request<wire::BatchNewX509svidRequest>,
    ) -> Result<Response<wire::BatchNewX509svidResponse>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        let params = request.into_inner().params;
        check_count(params.len())?;
        let items = params.into_iter().map(|item| asked(&item.entry_id, item.csr, (None, None))).collect();
        let (results, final_check) = issue(&call, items).await?;
        let results = results.into_iter().map(|result| {
            let (status, svid) = result_to_wire(result.map(|(issued, entry)| svid_to_wire(&issued, &entry.hint)));
            wire::batch_new_x509svid_response::Result { status: Some(status), svid }
        });
        Ok(with_check(wire::BatchNewX509svidResponse { results: results.collect() }, final_check))
    }

    async fn new_jwtsvid(
        &self,
        request: Request<wire::NewJwtsvidRequest>,
    ) -> Result<Response<wire::NewJwtsvidResponse>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        let request = request.into_inner();
        let command =
            entry_id(&request.entry_id).map(|entry| IssueJwt { entry, audience: request.audience, process: None });
        let (issued, entry) = answer(&call, command).await?;
        let final_check = jwt_final_check(&call.caller, &issued, &entry);
        Ok(with_check(wire::NewJwtsvidResponse { svid: Some(jwt_to_wire(issued, &entry)) }, final_check))
    }
}

pub(super) fn check_count(count: usize) -> Result<(), Status> {
    if count > MAX_ITEMS {
        return Err(Status::invalid_argument(format!("a batch has at most {MAX_ITEMS} requests")));
    }
    Ok(())
}

pub(super) fn entry_id(text: &str) -> Result<EntryId, Status> {
    EntryId::parse(text).map_err(|e| Status::invalid_argument(e.to_string()))
}

/// One item of a batch.
pub(super) fn asked(
    entry: &str,
    csr: Vec<u8>,
    (process, key): (Option<Evidence>, Option<ShownKey>),
) -> Result<X509Request, IssueError> {
    let entry = EntryId::parse(entry).map_err(|error| IssueError::Malformed(error.to_string()))?;
    Ok(X509Request { entry, csr, process, key })
}

/// An identity that was issued by an entry, or why not.
pub(super) type Given = Result<(IssuedX509, Arc<Entry>), Status>;

/// Issues all at once, so that their leaves share one wait; and what the connection is to judge once more before it
/// takes the answer.
pub(super) async fn issue(
    call: &Call<AgentCaller>,
    items: Vec<Result<X509Request, IssueError>>,
) -> Result<(Vec<Given>, FinalCheck), Status> {
    let results = call.execute_all(IssueX509 { items }).await.map_err(Refusal::into_error)?;
    let given = |result: Result<_, Refusal<IssueError>>| result.map_err(|refusal| refusal.into_error().into());
    let results: Vec<Given> = results.into_iter().map(given).collect();
    let issued = results.iter().flatten().map(|(issued, entry)| Issued {
        log_id: issued.log_id,
        entry: Some(entry.clone()),
        judged_at: issued.judged_at,
    });
    let final_check = FinalCheck::new(call.caller.id.get().clone(), call.caller.serial.clone(), issued.collect());
    Ok((results, final_check))
}

pub(super) fn jwt_final_check(agent: &AgentCaller, issued: &IssuedJwt, entry: &Arc<Entry>) -> FinalCheck {
    let leaves = Issued { log_id: issued.log_id, entry: Some(entry.clone()), judged_at: issued.judged_at };
    FinalCheck::new(agent.id.get().clone(), agent.serial.clone(), vec![leaves])
}

pub(super) fn jwt_to_wire(issued: IssuedJwt, entry: &Entry) -> types::Jwtsvid {
    types::Jwtsvid {
        id: Some(id_to_wire(&issued.spiffe_id)),
        token: issued.identity,
        expires_at: issued.not_after.seconds(),
        issued_at: issued.not_before.seconds(),
        hint: entry.hint.clone(),
    }
}
