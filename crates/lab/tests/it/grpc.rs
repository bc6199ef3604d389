//! gRPC through a sidecar: the test is the service behind it and, over mTLS, the client before it.

use std::process::Command;

use sekisho_net::{Dialer, ExpectedServer, grpc_over_tls};
use sekisho_proto::node::inspect_client::InspectClient;
use sekisho_proto::node::inspect_server::{Inspect, InspectServer};
use sekisho_proto::node::{StatusRequest, StatusResponse, WhyIdentityRequest, WhyIdentityResponse};
use sekisho_sdk::IdentitySource;
use sekisho_types::{SpiffeId, TrustDomain, UnixTime};
use tonic::{Code, Request, Response, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

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
#[tokio::test(flavor = "multi_thread")]
async fn law_l12_reflection_passes_both_sidecars_and_a_silent_stream_is_cut_by_a_new_policy() {
    let world = World::start();
    world.set_policy(&format!("{POLICY}{REFLECTION}"));
    world.register("/own/grpc", &World::own_selectors());
    let free = || format!("127.0.0.1:{}", free_port());
    let (service, inbound, local) = (free(), free(), free());
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(sekisho_proto::FILE_DESCRIPTORS)
        .build_v1()
        .unwrap();
    tokio::spawn(tonic::transport::Server::builder().add_service(reflection).serve(service.parse().unwrap()));
    let mut command = Command::new(program("sekisho"));
    command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--protocol", "h2c"]);
    command.args(["--inbound", &inbound, "--upstream", &service, "--workload-pid", &std::process::id().to_string()]);
    command.arg("--outbound").arg(format!("{local}={inbound}={ID}"));
    command.arg("--agent-socket").arg(world.agent_socket()).arg("--data").arg(world.path("p"));
    let sidecar = Role::start(&mut command);
    assert_eq!(sidecar.ready(), ID);

    let ask = async || {
        let channel =
            tonic::transport::Endpoint::from_shared(format!("http://{local}")).unwrap().connect().await.ok()?;
        let (send, questions) = tokio::sync::mpsc::channel(4);
        let list = MessageRequest::ListServices(String::new());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
        send.send(request).await.unwrap();
        let questions = tokio_stream::wrappers::ReceiverStream::new(questions);
        let mut client = ServerReflectionClient::new(channel);
        let mut answers = client.server_reflection_info(questions).await.ok()?.into_inner();
        let answer = answers.message().await.ok()??.message_response?;
        let MessageResponse::ListServicesResponse(listed) = answer else { return None };
        Some((listed.service, send, answers))
    };
    let mut asked = ask().await;
    for _ in 0..50 {
        if asked.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        asked = ask().await;
    }
    let (services, _open, mut answers) = asked.unwrap();
    assert!(services.iter().any(|service| service.name == "sekisho.node.v1.Inspect"), "{services:?}");
    let waits = tokio::time::timeout(std::time::Duration::from_millis(300), answers.message()).await;
    assert!(waits.is_err(), "the stream is open, and nothing passes");
    world.set_policy(POLICY);
    let cut = tokio::time::timeout(std::time::Duration::from_secs(10), answers.message()).await;
    assert!(!matches!(cut, Err(_) | Ok(Ok(Some(_)))), "{cut:?}");
    eventually("the cut is recorded", || {
        let denied = world.sekisho(&["decisions", "--effect", "deny", "-o", "json"]).1;
        denied.contains("ServerReflectionInfo").then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_is_judged_by_its_method_and_carries_its_status_back() {
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
    assert_eq!(sidecar.ready(), ID);

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
