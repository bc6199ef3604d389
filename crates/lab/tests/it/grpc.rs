//! gRPC through a sidecar: the test is the service behind it and, over mTLS, the client before it.

use std::process::Command;

use sekisho_net::{Dialer, ExpectedServer, grpc_over_tls};
use sekisho_proto::node::inspect_client::InspectClient;
use sekisho_proto::node::inspect_server::{Inspect, InspectServer};
use sekisho_proto::node::{StatusRequest, StatusResponse, WhyIdentityRequest, WhyIdentityResponse};
use sekisho_sdk::IdentitySource;
use sekisho_types::{SpiffeId, TrustDomain, UnixTime};
use tonic::{Code, Request, Response, Status};

use crate::world::{Role, TRUST_DOMAIN, World, free_port, program};

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
