//! Calls that operators and nodes make.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use sekisho_identity::{Bundle, LeafFacts, csr_der, leaf_facts};
use sekisho_keys::MemoryKey;
use sekisho_net::{Dialer, ExpectedServer, Identity, TlsMaterial, TlsSource, grpc_over_tls};
use sekisho_ports::{Machine, UnixStream, now};
use sekisho_proto::server::{IssueX509Request, ProcessEvidence, issue_x509_request::Item, node_client::NodeClient};
use sekisho_proto::spire::agent::v1 as wire;
use sekisho_proto::spire::agent::v1::agent_client::AgentClient;
use sekisho_proto::{selectors_to_wire, types};
use sekisho_types::{Digest, Selector, SignatureAlgorithm, SpiffeId};
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::model::Answer;

/// What a caller waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);
pub(super) const SELECTOR: &str = "unix:uid:7";

/// One call of the REST API on the server's local socket.
pub(super) async fn rest(socket: &Path, method: Method, path: &str, body: Option<Value>) -> Answer<Value> {
    let call = async {
        let stream = UnixStream::connect(socket).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let connection = tokio::spawn(connection);
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header("host", "sekisho");
        let request = request.header("content-type", "application/json").body(Full::new(bytes)).ok()?;
        let response = sender.send_request(request).await.ok()?;
        let status = response.status();
        let bytes = response.into_body().collect().await.ok()?.to_bytes();
        connection.abort();
        Some(match status.as_u16() {
            200..300 => Answer::Done(serde_json::from_slice(&bytes).unwrap_or(Value::Null)),
            // It may have been done all the same.
            500.. => Answer::Unknown,
            _ => Answer::Refused(status.to_string()),
        })
    };
    tokio::time::timeout(PATIENCE, call).await.ok().flatten().unwrap_or(Answer::Unknown)
}

pub(super) fn key() -> MemoryKey {
    MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap()
}

/// A channel to the server with this identity, or none.
pub(super) fn dial(server: &str, authorities: &[Digest], identity: Option<&Identity>) -> Channel {
    let id = SpiffeId::parse("spiffe://example.org/spire/server").unwrap();
    let bundle = Bundle::empty(id.trust_domain());
    let source = TlsSource::new(TlsMaterial::new(identity, Arc::new(bundle)).unwrap());
    let expected = ExpectedServer::Fingerprint { id, authorities: authorities.to_vec() };
    grpc_over_tls(Dialer { source, address: server.to_owned(), expected, clock: now })
}

fn answer<T>(result: Result<Result<T, Status>, tokio::time::error::Elapsed>) -> Answer<T> {
    match result {
        Ok(Ok(value)) => Answer::Done(value),
        Err(_) => Answer::Unknown,
        Ok(Err(status)) => match status.code() {
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled => Answer::Unknown,
            code => Answer::Refused(format!("{code:?}")),
        },
    }
}

/// Attests by a join token.
pub(super) async fn attest(server: Channel, token: &str) -> Answer<Identity> {
    use wire::attest_agent_response::Step;
    let key = key();
    let call = async {
        let params = wire::attest_agent_request::Params {
            data: Some(types::AttestationData { r#type: "join_token".into(), payload: token.into() }),
            params: Some(wire::AgentX509svidParams { csr: csr_der(&key, None).unwrap() }),
        };
        let step = Some(wire::attest_agent_request::Step::Params(params));
        let stream = tokio_stream::iter([wire::AttestAgentRequest { step }]);
        let mut answers = AgentClient::new(server).attest_agent(stream).await?.into_inner();
        match answers.message().await?.and_then(|answer| answer.step) {
            Some(Step::Result(result)) => {
                let chain = result.svid.map(|svid| svid.cert_chain).unwrap_or_default();
                Ok(Identity { chain, key: key.pkcs8().clone() })
            }
            _ => Err(Status::unknown("no result")),
        }
    };
    answer(tokio::time::timeout(PATIENCE, call).await)
}

/// Renews a node's SVID; with it comes when the server let it go.
pub(super) async fn renew(server: Channel) -> Answer<(Identity, Duration)> {
    let key = key();
    let call = async {
        let params = Some(wire::AgentX509svidParams { csr: csr_der(&key, None).unwrap() });
        let renewed = AgentClient::new(server).renew_agent(wire::RenewAgentRequest { params }).await?;
        let left = newest_answer_time();
        let chain = renewed.into_inner().svid.map(|svid| svid.cert_chain).unwrap_or_default();
        Ok((Identity { chain, key: key.pkcs8().clone() }, left))
    };
    answer(tokio::time::timeout(PATIENCE, call).await)
}

/// When what this machine read last was sent.
fn newest_answer_time() -> Duration {
    Machine::current().map(|machine| machine.newest_answer_time()).unwrap_or_default()
}

/// What was issued, and when the server let it go.
pub(super) struct Given {
    pub certificate: Vec<u8>,
    pub leaf: LeafFacts,
    pub log_index: u64,
    pub left: Duration,
}

/// Asks for the SVID of an entry, as an honest agent would.
pub(super) async fn issue(server: Channel, entry: &str) -> Answer<Given> {
    let evidence = ProcessEvidence {
        source: "unix/1".to_owned(),
        measured_at_ns: now().nanos(),
        selectors: selectors_to_wire(&[Selector::parse(SELECTOR).unwrap()]),
    };
    let item =
        Item { entry_id: entry.to_owned(), csr: csr_der(&key(), None).unwrap(), evidence: Some(evidence), key: None };
    let call = async {
        let answer = NodeClient::new(server).issue_x509(IssueX509Request { items: vec![item] }).await?;
        let left = newest_answer_time();
        let result = answer.into_inner().results.into_iter().next().ok_or_else(|| Status::unknown("no result"))?;
        let status = result.status.unwrap_or_default();
        if status.code != Code::Ok as i32 {
            return Err(Status::new(Code::from_i32(status.code), status.message));
        }
        let svid = result.svid.ok_or_else(|| Status::unknown("no SVID"))?;
        let certificate = svid.cert_chain.into_iter().next().ok_or_else(|| Status::unknown("no certificate"))?;
        let leaf = leaf_facts(&certificate).map_err(|error| Status::unknown(error.to_string()))?;
        Ok(Given { certificate, leaf, log_index: result.log_index, left })
    };
    answer(tokio::time::timeout(PATIENCE, call).await)
}
