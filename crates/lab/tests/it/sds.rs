//! Envoy's secret discovery service at the agent's socket, by a generated client. `docs/how-to/envoy.md` has a real
//! Envoy.

use prost::Message;
use sekisho_proto::envoy::core::data_source::Specifier;
use sekisho_proto::envoy::core::node::UserAgentVersionType;
use sekisho_proto::envoy::core::{BuildVersion, DataSource, Node};
use sekisho_proto::envoy::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use sekisho_proto::envoy::secret::secret_discovery_service_client::SecretDiscoveryServiceClient;
use sekisho_proto::envoy::tls::{Secret, SpiffeCertValidatorConfig, secret};
use sekisho_proto::envoy::version::SemanticVersion;
use sekisho_sdk::{AgentChannel, agent_channel};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::within::World;

fn client(world: &World) -> SecretDiscoveryServiceClient<AgentChannel> {
    SecretDiscoveryServiceClient::new(agent_channel(&world.agent_socket()))
}

fn text(source: Option<DataSource>) -> String {
    match source.and_then(|source| source.specifier) {
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The certificate chain of a secret, whose key is checked to be there.
fn chain(any: &prost_types::Any) -> (String, String) {
    let secret = Secret::decode(any.value.as_slice()).unwrap();
    let Some(secret::Type::TlsCertificate(found)) = secret.r#type else { panic!("{secret:?}") };
    assert!(text(found.private_key).starts_with("-----BEGIN PRIVATE KEY-----"));
    (secret.name, text(found.certificate_chain))
}

fn asking(names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest { resource_names: names.iter().map(|&name| name.to_owned()).collect(), ..Default::default() }
}

/// An Envoy 1.40, as it describes itself.
fn envoy() -> Option<Node> {
    let version = Some(SemanticVersion { major_number: 1, minor_number: 40, patch: 0 });
    let build = UserAgentVersionType::UserAgentBuildVersion(BuildVersion { version });
    Some(Node { user_agent_version_type: Some(build), ..Node::default() })
}

#[tokio::test(start_paused = true)]
async fn sds_pushes_rotations_under_the_names_of_spire() {
    let world = World::start().await;
    let id = "spiffe://example.org/edge";
    world.register_with("/edge", &World::own_selectors(), &["--x509-ttl", "6s"]).await;
    let mut client = client(&world);

    // Everything, by its full names.
    let all = client.fetch_secrets(asking(&[])).await.unwrap().into_inner().resources;
    let names: Vec<_> = all.iter().map(|any| Secret::decode(any.value.as_slice()).unwrap().name).collect();
    assert_eq!(names, ["spiffe://example.org", id]);

    let (to, requests) = mpsc::channel(4);
    to.send(DiscoveryRequest { node: envoy(), ..asking(&["default"]) }).await.unwrap();
    let mut stream = client.stream_secrets(ReceiverStream::new(requests)).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    let (name, certificates) = chain(&first.resources[0]);
    assert_eq!((name.as_str(), first.resources.len()), ("default", 1));
    let acknowledged = DiscoveryRequest {
        version_info: first.version_info.clone(),
        response_nonce: first.nonce.clone(),
        ..asking(&["default"])
    };
    to.send(acknowledged).await.unwrap();
    let second = stream.message().await.unwrap().unwrap();
    assert_ne!(chain(&second.resources[0]).1, certificates, "a rotation is sent, and nothing before it");

    // Another name on the same stream; an answer to an earlier response asks for nothing.
    to.send(DiscoveryRequest { response_nonce: first.nonce, ..asking(&["no"]) }).await.unwrap();
    to.send(DiscoveryRequest { response_nonce: second.nonce, ..asking(&["ROOTCA"]) }).await.unwrap();
    let bundle = loop {
        let message = stream.message().await.unwrap().unwrap();
        let secret = Secret::decode(message.resources[0].value.as_slice()).unwrap();
        if let Some(secret::Type::ValidationContext(context)) = secret.r#type {
            assert_eq!(secret.name, "ROOTCA");
            break context;
        }
    };
    let validator = bundle.custom_validator_config.unwrap();
    assert_eq!(validator.name, "envoy.tls.cert_validator.spiffe");
    let config = SpiffeCertValidatorConfig::decode(validator.typed_config.unwrap().value.as_slice()).unwrap();
    let [domain] = config.trust_domains.try_into().unwrap();
    assert_eq!(domain.name, "example.org");
    assert!(text(domain.trust_bundle).starts_with("-----BEGIN CERTIFICATE-----"));
}

#[tokio::test(start_paused = true)]
async fn sds_deltas_hold_changes_and_absent_names() {
    let world = World::start().await;
    world.register_with("/edge", &World::own_selectors(), &["--x509-ttl", "6s"]).await;
    let (to, requests) = mpsc::channel(4);
    let subscribe = |names: &[&str]| DeltaDiscoveryRequest {
        resource_names_subscribe: names.iter().map(|&name| name.to_owned()).collect(),
        ..Default::default()
    };
    to.send(subscribe(&["default", "ROOTCA", "spiffe://example.org/other"])).await.unwrap();
    let mut stream = client(&world).delta_secrets(ReceiverStream::new(requests)).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    let names = |resources: &[sekisho_proto::envoy::discovery::Resource]| {
        resources.iter().map(|resource| resource.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&first.resources), ["ROOTCA", "default"]);
    assert_eq!(first.removed_resources, ["spiffe://example.org/other"]);
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(names(&second.resources), ["default"]);
}

/// Laws L3, L5 and L11: what a process may not have it does not get by another protocol.
#[tokio::test(start_paused = true)]
async fn sds_refuses_a_process_without_the_identity() {
    let world = World::start().await;
    let mut client = client(&world);
    let refused = client.fetch_secrets(asking(&["default"])).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(refused.message().contains("no identity issued"), "{refused}");
    let refused = client.fetch_secrets(asking(&["ROOTCA"])).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    world.register("/edge", &World::own_selectors()).await;
    let refused = client.fetch_secrets(asking(&["spiffe://example.org/other"])).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(refused.metadata().get("sekisho-refusal").is_some(), "{refused:?}");
    let many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
    let refused =
        client.fetch_secrets(DiscoveryRequest { resource_names: many, ..Default::default() }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let other =
        DiscoveryRequest { type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".into(), ..asking(&[]) };
    assert_eq!(client.fetch_secrets(other).await.unwrap_err().code(), tonic::Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sds_rejection_is_logged_once() {
    let world = crate::world::World::start();
    let mut client = SecretDiscoveryServiceClient::new(agent_channel(&world.agent_socket()));
    let reject = |nonce: &str, why: &str| DiscoveryRequest {
        response_nonce: nonce.to_owned(),
        error_detail: Some(sekisho_proto::envoy::rpc::Status { message: why.to_owned(), ..Default::default() }),
        ..asking(&["default"])
    };
    // Without an identity it was sent nothing that it could reject.
    let (to, requests) = mpsc::channel(4);
    to.send(reject("", "early")).await.unwrap();
    let mut stream = client.stream_secrets(ReceiverStream::new(requests)).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap_err().code(), tonic::Code::PermissionDenied);
    tokio::task::block_in_place(|| world.register("/edge", &World::own_selectors()));
    for round in 0..3 {
        let (to, requests) = mpsc::channel(4);
        to.send(asking(&["default"])).await.unwrap();
        let mut stream = client.stream_secrets(ReceiverStream::new(requests)).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap();
        for number in 0..4 {
            to.send(reject(&first.nonce, &format!("late {round} {number}"))).await.unwrap();
        }
        // Answered after them.
        to.send(DiscoveryRequest { response_nonce: first.nonce, ..asking(&["ROOTCA"]) }).await.unwrap();
        stream.message().await.unwrap().unwrap();
    }
    let logged = world.agent.as_ref().unwrap().stderr();
    assert!(logged.contains("late 0 0") && !logged.contains("early"), "{logged}");
    assert_eq!(logged.matches("rejects what it was sent").count(), 1, "{logged}");
}
