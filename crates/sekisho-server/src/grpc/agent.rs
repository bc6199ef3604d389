use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use sekisho_evidence::node::{NodeError, Proved};
use sekisho_identity::Csr;
use sekisho_net::{TlsPeer, network_of};
use sekisho_proto::spire::agent::v1 as wire;
use sekisho_proto::types::permission_denied_details::Reason;
use sekisho_proto::{reason_status, types};
use sekisho_runtime::now;
use tonic::{Request, Response, Status, Streaming};

use super::status::{issue_status, svid_to_wire};
use crate::attest::{self, AttestError, Attestation, Turn};
use crate::caller::AgentCaller;
use crate::departure::{Departure, Issued};
use crate::domain::Shared;
use crate::executor::Call;
use crate::issue::IssuedX509;
use crate::refusal::Ended;
use crate::standing::denied;

pub(crate) struct Service(pub(crate) Shared);

/// One message to an attesting node, and what is to be judged before it leaves.
type Message = (wire::AttestAgentResponse, Option<Departure>);
type Answers = Pin<Box<dyn Stream<Item = Result<wire::AttestAgentResponse, Status>> + Send>>;

#[tonic::async_trait]
impl wire::agent_server::Agent for Service {
    type AttestAgentStream = Answers;

    async fn attest_agent(
        &self,
        request: Request<Streaming<wire::AttestAgentRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let call = Call::<()>::of(request.extensions())?;
        let peer = call.peer().cloned().ok_or_else(|| Status::permission_denied("agents attest over TLS"))?;
        if !self.0.limits.attestations.take(network_of(peer.address.ip()), now()) {
            let status =
                Status::resource_exhausted("too many attestations from this address; wait a second and try again");
            return Err(call.refuse(status).await.into_error());
        }
        let domain = self.0.clone();
        let mut incoming = request.into_inner();
        let (to, answers) = tokio::sync::mpsc::channel(2);
        tokio::spawn(async move {
            let ended = call.answer(converse(&domain, &mut incoming, &to, &peer)).await;
            let ended = ended.map(|(svid, reattestable)| (result(&svid, reattestable), Some(departure(&svid))));
            let _gone = to.send(ended).await;
        });
        let domain = self.0.clone();
        // Judged when the connection takes it: the node may have been banned since it was admitted.
        let judged = move |answer: Result<Message, Status>| {
            let (answer, departure) = answer?;
            departure.map_or(Ok(()), |departure| departure.judge(&domain.view, &domain.identity.server_id))?;
            Ok(answer)
        };
        let answers = tokio_stream::wrappers::ReceiverStream::new(answers).map(judged);
        Ok(Response::new(answers.boxed()))
    }

    async fn renew_agent(
        &self,
        request: Request<wire::RenewAgentRequest>,
    ) -> Result<Response<wire::RenewAgentResponse>, Status> {
        let call = Call::<AgentCaller>::of(request.extensions())?;
        let (agent, params) = (&call.caller, request.into_inner().params);
        let work = async {
            let params = params.ok_or_else(|| Status::invalid_argument("`params` is missing"))?;
            attest::renew(&self.0, agent, &params.csr).await.map_err(attest_ended)
        };
        let renewed = call.answer(work).await?;
        let answer = wire::RenewAgentResponse { svid: Some(svid_to_wire(&renewed, "")) };
        let own = Issued { log_id: renewed.log_id, entry: None, judged_at: renewed.judged_at };
        let departure = Departure::new(agent.id.get().clone(), agent.serial.clone(), vec![own]);
        Ok(super::svid::departing(answer, departure))
    }

    async fn post_status(
        &self,
        request: Request<wire::PostStatusRequest>,
    ) -> Result<Response<wire::PostStatusResponse>, Status> {
        let call = Call::<AgentCaller>::of(request.extensions())?;
        let version: String = request.into_inner().agent_version.chars().take(64).collect();
        if call.caller.node.version != version {
            let noted = attest::note_version(&self.0, &call.caller, version);
            call.answer(async { noted.await.map_err(attest_ended) }).await?;
        }
        Ok(Response::new(wire::PostStatusResponse {}))
    }
}

/// A node's own SVID, for which it attested.
fn departure(own: &IssuedX509) -> Departure {
    let issued = Issued { log_id: own.log_id, entry: None, judged_at: own.judged_at };
    Departure::new(own.spiffe_id.clone(), own.serial.clone(), vec![issued])
}

async fn converse(
    domain: &Shared,
    incoming: &mut Streaming<wire::AttestAgentRequest>,
    to: &tokio::sync::mpsc::Sender<Result<Message, Status>>,
    peer: &TlsPeer,
) -> Result<(IssuedX509, bool), Ended<Status>> {
    use wire::attest_agent_request::Step;
    let Some(Step::Params(params)) = next_step(incoming).await? else {
        return Err(Status::invalid_argument("the first message carries `params`").into());
    };
    let data = params.data.ok_or_else(|| Status::invalid_argument("`params.data` is missing"))?;
    let csr = params.params.ok_or_else(|| Status::invalid_argument("`params.params` is missing"))?.csr;
    // Before a token is spent for it.
    let csr = Csr::verify(&csr).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let proved = prove(domain, incoming, to, peer, &data).await?;
    let issued = attest::admit(domain, &proved, &csr, &peer.group).await.map_err(attest_ended)?;
    Ok((issued, proved.can_reattest()))
}

/// Challenges that one attestation may take.
const MAX_CHALLENGES: usize = 8;

async fn prove(
    domain: &Shared,
    incoming: &mut Streaming<wire::AttestAgentRequest>,
    to: &tokio::sync::mpsc::Sender<Result<Message, Status>>,
    peer: &TlsPeer,
    data: &types::AttestationData,
) -> Result<Proved, Ended<Status>> {
    use wire::attest_agent_request::Step;
    let attestation = Attestation::by(&data.r#type, peer.exporter).map_err(attest_ended)?;
    let mut turn = attestation.begin(domain, &data.payload).await.map_err(attest_ended)?;
    for _ in 0..MAX_CHALLENGES {
        let (challenge, conversation) = match turn {
            Turn::Proved(proved) => return Ok(proved),
            Turn::Challenge(challenge, conversation) => (challenge, conversation),
        };
        let step = Some(wire::attest_agent_response::Step::Challenge(challenge));
        let _gone = to.send(Ok((wire::AttestAgentResponse { step }, None))).await;
        let Some(Step::ChallengeResponse(answer)) = next_step(incoming).await? else {
            return Err(Status::invalid_argument("the second message carries `challenge_response`").into());
        };
        turn = attestation.go_on(domain, conversation, &answer).await.map_err(attest_ended)?;
    }
    match turn {
        Turn::Proved(proved) => Ok(proved),
        Turn::Challenge(..) => Err(Status::invalid_argument("the attestation takes too many steps").into()),
    }
}

async fn next_step(
    incoming: &mut Streaming<wire::AttestAgentRequest>,
) -> Result<Option<wire::attest_agent_request::Step>, Status> {
    let limit = std::time::Duration::from_secs(30);
    let message = tokio::time::timeout(limit, incoming.message()).await;
    let message = message.map_err(|_| Status::deadline_exceeded("no message for 30 s"))??;
    Ok(message.and_then(|message| message.step))
}

fn attest_ended(error: AttestError) -> Ended<Status> {
    match error {
        AttestError::Issue(ended) => ended.map(|error| issue_status(&error)),
        error => attest_status(&error).into(),
    }
}

fn attest_status(error: &AttestError) -> Status {
    match error {
        // SPIRE's code for a token that is used or expired, too.
        AttestError::TokenUnknown
        | AttestError::TokenExpired
        | AttestError::UnknownAttestor { .. }
        | AttestError::Csr(_) => Status::invalid_argument(error.to_string()),
        AttestError::Node(NodeError::Off(..)) => Status::permission_denied(error.to_string()),
        AttestError::Node(_) => Status::invalid_argument(error.to_string()),
        AttestError::Banned(_) => denied(sekisho_identity::Standing::Banned),
        AttestError::MustReattest => reason_status(&error.to_string(), Reason::AgentMustReattest),
        AttestError::Changed(standing) => denied(*standing),
        AttestError::Issue(_) | AttestError::Store(_) | AttestError::Journal(_) | AttestError::Evidence(_) => {
            tracing::error!(%error, "could not attest");
            Status::unavailable("the server cannot attest now; its log says why")
        }
    }
}

fn result(issued: &IssuedX509, reattestable: bool) -> wire::AttestAgentResponse {
    let result = wire::attest_agent_response::Result { svid: Some(svid_to_wire(issued, "")), reattestable };
    wire::AttestAgentResponse { step: Some(wire::attest_agent_response::Step::Result(result)) }
}
