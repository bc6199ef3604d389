//! gRPC through a sidecar: the test is the service behind it and, over mTLS, the client before it.

use std::process::Command;
use std::time::Duration;

use sekisho_net::{Dialer, ExpectedServer, grpc_over_tls};
use sekisho_proto::node::inspect_client::InspectClient;
use sekisho_proto::node::inspect_server::{Inspect, InspectServer};
use sekisho_proto::node::{StatusRequest, StatusResponse, WhyIdentityRequest, WhyIdentityResponse};
use sekisho_sdk::IdentitySource;
use sekisho_types::{SpiffeId, TrustDomain, UnixTime};
use tonic::{Code, Request, Response, Status};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::faults::Shim;
use crate::world::{Role, TRUST_DOMAIN, World, eventually, free_port, program};

const ID: &str = "spiffe://example.org/own/grpc";
const POLICY: &str = r#"package workload.authz
default allow := false
allow if {
	input.method == "POST"
	input.path == ["sekisho.node.v1.Inspect", "Status"]
	input.subject.spiffe_id == "spiffe://example.org/own/grpc"
	input.subject.claims.evidence == "process"
}
"#;

struct Echo;

#[tonic::async_trait]
impl Inspect for Echo {
    async fn why_identity(&self, _: Request<WhyIdentityRequest>) -> Result<Response<WhyIdentityResponse>, Status> {
        Err(Status::internal("policy should have denied this"))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let peer = request.metadata().get("x-sekisho-peer-id").map(|id| id.to_str().unwrap().to_owned());
        Ok(Response::new(StatusResponse { agent_id: peer.unwrap_or_default(), ..Default::default() }))
    }
}

fn clock() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixTime::from_seconds(i64::try_from(since.as_secs()).unwrap())
}

/// Reflection goes both ways at once, and stays open.
const REFLECTION: &str = r#"
allow if {
	input.path == ["grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"]
	input.subject.spiffe_id == "spiffe://example.org/own/grpc"
}
"#;

/// As grpcurl does it: client, its sidecar, the service's sidecar, service.
struct Reflected {
    world: World,
    entry: String,
    local: String,
    _sidecar: Role,
}

/// A stream of reflection that is open, and has answered once.
struct Asked {
    questions: tokio::sync::mpsc::Sender<ServerReflectionRequest>,
    answers: tonic::Streaming<ServerReflectionResponse>,
}

fn question() -> ServerReflectionRequest {
    let list = MessageRequest::ListServices(String::new());
    ServerReflectionRequest { host: String::new(), message_request: Some(list) }
}

impl Reflected {
    fn open(server_options: &[&str], environment: &[(String, String)]) -> Self {
        let world = World::with_environment(server_options, environment.to_vec(), environment.to_vec());
        world.set_policy(&format!("{POLICY}{REFLECTION}"));
        let entry = world.register("/own/grpc", &World::own_selectors());
        let free = || format!("127.0.0.1:{}", free_port());
        let (service, inbound, local) = (free(), free(), free());
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(sekisho_proto::FILE_DESCRIPTORS)
            .build_v1()
            .unwrap();
        tokio::spawn(tonic::transport::Server::builder().add_service(reflection).serve(service.parse().unwrap()));
        let mut command = Command::new(program("sekisho"));
        command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--protocol", "h2c"]);
        command.args(["--inbound", &inbound, "--upstream", &service]);
        command.args(["--workload-pid", &std::process::id().to_string()]);
        command.arg("--outbound").arg(format!("{local}={inbound}={ID}"));
        command.arg("--agent-socket").arg(world.agent_socket()).arg("--data").arg(world.path("p"));
        let sidecar = Role::start(command.envs(environment.iter().cloned()));
        assert_eq!(sidecar.ready_as(), ID);
        Self { world, entry, local, _sidecar: sidecar }
    }

    async fn client(&self) -> ServerReflectionClient<tonic::transport::Channel> {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", self.local)).unwrap();
        ServerReflectionClient::new(channel.connect_lazy())
    }

    async fn try_ask(&self) -> Option<Asked> {
        let (questions, sent) = tokio::sync::mpsc::channel(4);
        questions.send(question()).await.unwrap();
        let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
        let mut asked =
            Asked { questions, answers: self.client().await.server_reflection_info(sent).await.ok()?.into_inner() };
        let answer = asked.answers.message().await.ok()??.message_response?;
        let MessageResponse::ListServicesResponse(listed) = answer else { return None };
        let inspect = "sekisho.node.v1.Inspect";
        assert!(listed.service.iter().any(|service| service.name == inspect), "{:?}", listed.service);
        Some(asked)
    }

    async fn ask(&self) -> Asked {
        for _ in 0..100 {
            if let Some(asked) = self.try_ask().await {
                return asked;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no stream could be opened");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l12_a_new_policy_closes_a_silent_stream() {
    let reflected = Reflected::open(&[], &[]);
    let mut asked = reflected.ask().await;
    let waits = tokio::time::timeout(Duration::from_millis(300), asked.answers.message()).await;
    assert!(waits.is_err(), "the stream is open, and nothing passes");
    reflected.world.set_policy(POLICY);
    let cut = tokio::time::timeout(Duration::from_secs(10), asked.answers.message()).await.unwrap();
    let status = cut.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains("policy in force"), "{status:?}");
    eventually("the cut is recorded", || {
        let denied = reflected.world.sekisho(&["decisions", "--effect", "deny", "-o", "json"]).1;
        denied.contains("ServerReflectionInfo").then_some(())
    });
    // What the guard of the caller's own sidecar refuses is a status too.
    let mut forged = Request::new(tokio_stream::iter([question()]));
    forged.metadata_mut().insert("x-sekisho-peer-id", "spiffe://example.org/admin".parse().unwrap());
    let status = reflected.client().await.server_reflection_info(forged).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_stream_survives_rotations() {
    let shim = Shim::new();
    let reflected = Reflected::open(&["--x509-ttl", "20s"], &shim.environment());
    let mut asked = reflected.ask().await;
    // Beyond the life of the SVIDs that it began with, and the time in which a connection that ends is drained.
    for run_on in [11, 22, 33] {
        shim.renews(&reflected.world, run_on, &[&reflected.entry]);
        for _ in 0..10 {
            asked.questions.send(question()).await.unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(10), asked.answers.message()).await.unwrap();
            assert!(matches!(answer, Ok(Some(_))), "the stream was cut within {run_on} s: {answer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    // Without an identity there is nothing to prove.
    reflected.world.text(&["entry", "delete", &reflected.entry]);
    let cut = tokio::time::timeout(Duration::from_secs(20), asked.answers.message()).await.unwrap();
    assert!(!matches!(cut, Ok(Some(_))), "{cut:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_is_decided_by_method() {
    let world = World::start();
    world.set_policy(POLICY);
    world.register("/own/grpc", &World::own_selectors());
    let (service, inbound) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let server = tonic::transport::Server::builder().add_service(InspectServer::new(Echo));
    tokio::spawn(server.serve(service.parse().unwrap()));

    let mut command = Command::new(program("sekisho"));
    command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--protocol", "h2c"]);
    command.args(["--inbound", &inbound, "--upstream", &service, "--workload-pid", &std::process::id().to_string()]);
    command.arg("--agent-socket").arg(world.agent_socket()).arg("--data").arg(world.path("p"));
    let sidecar = Role::start(&mut command);
    assert_eq!(sidecar.ready_as(), ID);

    let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    let source = IdentitySource::of_self(&world.agent_socket(), &trust_domain).unwrap();
    source.ready().await;
    let expected = ExpectedServer::Id(SpiffeId::parse(ID).unwrap());
    let mut client =
        InspectClient::new(grpc_over_tls(Dialer { source: source.tls.clone(), address: inbound, expected, clock }));
    let mut answer = client.status(StatusRequest {}).await;
    for _ in 0..50 {
        // The policy may not have reached the sidecar yet; until then everything is denied.
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        answer = client.status(StatusRequest {}).await;
    }
    assert_eq!(answer.unwrap().into_inner().agent_id, ID);
    let denied = client.why_identity(WhyIdentityRequest::default()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied:?}");
}
