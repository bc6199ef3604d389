use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use sekisho_proto::spire::agent::v1 as wire;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::admission::{answer, call};
use super::checked_body::{with_check, withdrawn};
use super::status::svid_to_wire;
use crate::caller::AgentCaller;
use crate::commands::{Admitted, AnsweringNode, Attest, AttestError, AttestingNode, Opening, PostStatus, Renew};
use crate::final_check::{FinalCheck, Issued};
use crate::issue_x509::IssuedX509;
use crate::refusal::Fault;

pub(crate) struct Service;

/// One message to an attesting node, and what is to be judged before it leaves.
type Message = (wire::AttestAgentResponse, Option<FinalCheck>);
type Answers = Pin<Box<dyn Stream<Item = Result<wire::AttestAgentResponse, Status>> + Send>>;

#[tonic::async_trait]
impl wire::agent_server::Agent for Service {
    type AttestAgentStream = Answers;

    async fn attest_agent(
        &self,
        request: Request<Streaming<wire::AttestAgentRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let call = call::<(), _>(&request)?;
        let peer = call.peer().cloned().ok_or_else(|| Status::permission_denied("agents attest over TLS"))?;
        let (to, answers) = tokio::sync::mpsc::channel(2);
        let node = Node { incoming: request.into_inner(), to: to.clone() };
        let domain = call.domain().clone();
        tokio::spawn(async move {
            let (address, exporter, tls_group) = (peer.address.ip(), peer.exporter, peer.group.clone());
            let admitted = answer(&call, Ok(Attest { node, address, exporter, tls_group })).await;
            let last = admitted.map(|admitted| (result(&admitted), Some(final_check(&admitted.issued))));
            let _gone = to.send(last).await;
        });
        // Judged when the connection takes it: the node may have been banned since it was admitted.
        let judged = move |answer: Result<Message, Status>| {
            let domain = domain.clone();
            async move {
                let (answer, final_check) = answer?;
                let Some(final_check) = final_check else { return Ok(answer) };
                match final_check.judge(&domain.view, &domain.identity.server_id) {
                    Ok(()) => Ok(answer),
                    Err(cause) => Err(withdrawn(&domain, &final_check, cause).await),
                }
            }
        };
        Ok(Response::new(ReceiverStream::new(answers).then(judged).boxed()))
    }

    async fn renew_agent(
        &self,
        request: Request<wire::RenewAgentRequest>,
    ) -> Result<Response<wire::RenewAgentResponse>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        let params = request.into_inner().params.ok_or_else(|| Status::invalid_argument("`params` is missing"));
        let renewed = answer(&call, params.map(|params| Renew { csr: params.csr })).await?;
        let agent = &call.caller;
        let own = Issued { log_id: renewed.log_id, entry: None, judged_at: renewed.judged_at };
        let final_check = FinalCheck::new(agent.id.get().clone(), agent.serial.clone(), vec![own]);
        Ok(with_check(wire::RenewAgentResponse { svid: Some(svid_to_wire(&renewed, "")) }, final_check))
    }

    async fn post_status(
        &self,
        request: Request<wire::PostStatusRequest>,
    ) -> Result<Response<wire::PostStatusResponse>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        answer(&call, Ok(PostStatus { version: request.into_inner().agent_version })).await?;
        Ok(Response::new(wire::PostStatusResponse {}))
    }
}

/// A node that attests over gRPC.
struct Node {
    incoming: Streaming<wire::AttestAgentRequest>,
    to: tokio::sync::mpsc::Sender<Result<Message, Status>>,
}

impl Node {
    async fn next(&mut self) -> Result<Option<wire::attest_agent_request::Step>, AttestError> {
        let message = tokio::time::timeout(Duration::from_secs(30), self.incoming.message()).await;
        let message = message.map_err(|_| AttestError::Silent)?.map_err(|status| {
            if status.is_caller_fault() { AttestError::Message(status.log_message()) } else { AttestError::Gone }
        })?;
        Ok(message.and_then(|message| message.step))
    }
}

impl AttestingNode for Node {
    async fn opening(&mut self) -> Result<Opening, AttestError> {
        let lacks = |what: &str| AttestError::Message(what.to_owned());
        let Some(wire::attest_agent_request::Step::Params(params)) = self.next().await? else {
            return Err(lacks("the first message carries `params`"));
        };
        let data = params.data.ok_or_else(|| lacks("`params.data` is missing"))?;
        let csr = params.params.ok_or_else(|| lacks("`params.params` is missing"))?.csr;
        Ok(Opening { attestor: data.r#type, payload: data.payload, csr })
    }
}

impl AnsweringNode for Node {
    async fn answer(&mut self, challenge: Vec<u8>) -> Result<Vec<u8>, AttestError> {
        let step = Some(wire::attest_agent_response::Step::Challenge(challenge));
        let _gone = self.to.send(Ok((wire::AttestAgentResponse { step }, None))).await;
        match self.next().await? {
            Some(wire::attest_agent_request::Step::ChallengeResponse(answer)) => Ok(answer),
            _ => Err(AttestError::Message("the second message carries `challenge_response`".to_owned())),
        }
    }
}

/// A node's own SVID, for which it attested.
fn final_check(own: &IssuedX509) -> FinalCheck {
    let issued = Issued { log_id: own.log_id, entry: None, judged_at: own.judged_at };
    FinalCheck::new(own.spiffe_id.clone(), own.identity.serial.clone(), vec![issued])
}

fn result(admitted: &Admitted) -> wire::AttestAgentResponse {
    let svid = Some(svid_to_wire(&admitted.issued, ""));
    let result = wire::attest_agent_response::Result { svid, reattestable: admitted.can_reattest };
    wire::AttestAgentResponse { step: Some(wire::attest_agent_response::Step::Result(result)) }
}
