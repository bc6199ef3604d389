//! Keys of workloads in the TPM: what no process gets, and certifications that a server refuses.

use std::sync::Arc;

use sekisho_evidence::node::{CertifiedAnswer, KeyIssuance, NodeProof as _, Session};
use sekisho_identity::{Bundle, csr_der, leaf_facts};
use sekisho_net::{Dialer, ExpectedServer, Identity, TlsMaterial, TlsSource, grpc_over_one};
use sekisho_proto::envoy::discovery::DiscoveryRequest;
use sekisho_proto::envoy::secret::secret_discovery_service_client::SecretDiscoveryServiceClient;
use sekisho_proto::server::issue_x509_request::Item;
use sekisho_proto::server::{IssueX509Request, KeyCertification, ProcessEvidence, node_client::NodeClient};
use sekisho_proto::spire::agent::v1 as wire;
use sekisho_proto::spire::agent::v1::agent_client::AgentClient;
use sekisho_proto::spire::svid::v1::{BatchNewX509svidRequest, NewX509svidParams, svid_client::SvidClient};
use sekisho_proto::{selectors_to_wire, types};
use sekisho_tpm::{NodeTpm, TpmProof, TpmSigner};
use sekisho_types::{EntryId, Selector, Signer as _, SpiffeId, UnixTime};
use tonic::Code;
use tonic::transport::Channel;

use super::{ISSUER, ROOT, Software};
use crate::peers::{Place as _, clock, key};
use crate::within::{TRUST_DOMAIN, World};

/// A connection to the server, and keying material of it.
async fn connect(world: &World, identity: Option<&Identity>) -> (Channel, [u8; 32]) {
    let id = SpiffeId::parse(&format!("spiffe://{TRUST_DOMAIN}/spire/server")).unwrap();
    let bundle = Arc::new(Bundle::empty(id.trust_domain()));
    let source = TlsSource::new(TlsMaterial::new(identity, bundle).unwrap());
    let expected = ExpectedServer::Fingerprint { id, authorities: vec![world.authority()] };
    let dialer = Dialer { source, address: world.address().to_owned(), expected, clock };
    let (channel, peer) = grpc_over_one(&dialer).await.unwrap();
    (channel, peer.exporter)
}

/// Attests by a TPM, as an agent would.
async fn attest(world: &World, software: &Software) -> Identity {
    use wire::attest_agent_request::{Params, Step};
    use wire::attest_agent_response::Step as Answer;
    let proof = TpmProof::open(&software.socket(), software.certificates(ISSUER)).unwrap();
    let (channel, exporter) = connect(world, None).await;
    let key = key();
    let session = Session::new(exporter, key.public_key_der(), &sekisho_ports::random_bytes);
    let data = types::AttestationData { r#type: proof.class().name.into(), payload: proof.payload(&session).unwrap() };
    let params = Some(wire::AgentX509svidParams { csr: csr_der(&key, None).unwrap() });
    let (to, requests) = tokio::sync::mpsc::channel(2);
    let step = |step| wire::AttestAgentRequest { step: Some(step) };
    to.send(step(Step::Params(Params { data: Some(data), params }))).await.unwrap();
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = AgentClient::new(channel).attest_agent(requests).await.unwrap().into_inner();
    loop {
        match answers.message().await.unwrap().unwrap().step.unwrap() {
            Answer::Challenge(challenge) => {
                let answer = proof.answer(&challenge, &session).unwrap();
                to.send(step(Step::ChallengeResponse(answer))).await.unwrap();
            }
            Answer::Result(result) => {
                return Identity { chain: result.svid.unwrap().cert_chain, key: key.pkcs8().clone() };
            }
        }
    }
}

/// One issuance that a hostile agent asks for.
struct Asking<'a> {
    entry: &'a str,
    signer: &'a TpmSigner,
    measured_at: UnixTime,
}

impl Asking<'_> {
    fn certified(&self, of: &TpmSigner, exporter: &[u8; 32]) -> KeyCertification {
        let entry = EntryId::parse(self.entry).unwrap();
        let Self { signer, measured_at, .. } = *self;
        let issuance = KeyIssuance { entry: &entry, public_key: signer.public_key_der(), measured_at, exporter };
        let CertifiedAnswer { public, attest, signature } = of.certified(|ak| issuance.binding(ak)).unwrap();
        KeyCertification { public, attest, signature }
    }

    /// The claims of the SVID, or why there is none.
    async fn issue(&self, channel: &Channel, key: Option<KeyCertification>) -> Result<String, String> {
        let evidence = ProcessEvidence {
            source: "unix/1".to_owned(),
            measured_at_ns: self.measured_at.nanos(),
            selectors: selectors_to_wire(&[Selector::parse("unix:uid:7").unwrap()]),
        };
        let csr = csr_der(self.signer, None).unwrap();
        let item = Item { entry_id: self.entry.to_owned(), csr, evidence: Some(evidence), key };
        let request = IssueX509Request { items: vec![item] };
        let result = NodeClient::new(channel.clone()).issue_x509(request).await.unwrap().into_inner().results.remove(0);
        let status = result.status.unwrap();
        if status.code != Code::Ok as i32 {
            return Err(status.message);
        }
        let leaf = leaf_facts(&result.svid.unwrap().cert_chain[0]).unwrap();
        Ok(format!("{:?}", leaf.claims.get("danger_software_tpm.key_class")))
    }
}

#[tokio::test(start_paused = true)]
async fn a_certification_serves_one_issuance_of_its_key() {
    let (Some(software), Some(foreign)) = (Software::new(), Software::new()) else { return };
    drop((software.connect(), foreign.connect()));
    let mut world = World::with_server(&["--danger-software-tpm-ca", &software.authority(ROOT)]).await;
    let identity = attest(&world, &software).await;
    world.agent_id = leaf_facts(&identity.chain[0]).unwrap().spiffe_id.to_string();
    let id = format!("spiffe://{TRUST_DOMAIN}/shop");
    let create = ["entry", "create", "--spiffe-id", &id, "--parent-id", &world.agent_id, "--selector", "unix:uid:7"];
    let made = world.json(&[&create[..], &["--tpm-key", "true"]].concat()).await;
    let entry = made["id"].as_str().unwrap().to_owned();

    let (channel, exporter) = connect(&world, Some(&identity)).await;
    let [one, other] =
        [&software, &software].map(|of| TpmSigner::generate(&NodeTpm::at(&of.socket()).unwrap()).unwrap());
    let elsewhere = TpmSigner::generate(&NodeTpm::at(&foreign.socket()).unwrap()).unwrap();
    let asking = Asking { entry: &entry, signer: &one, measured_at: clock() };
    let refused = async |asking: &Asking<'_>, channel: &Channel, key, why: &str| {
        let refused = asking.issue(channel, key).await.unwrap_err();
        assert!(refused.contains(why), "{refused}");
        world.log_says(why).await;
    };
    refused(&asking, &channel, None, "nothing certifies that the key of the request is there").await;
    // By SPIRE's RPC.
    let params = vec![NewX509svidParams { entry_id: entry.clone(), csr: csr_der(&one, None).unwrap() }];
    let answer = SvidClient::new(channel.clone()).batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap();
    let status = answer.into_inner().results.remove(0).status.unwrap();
    assert!(status.code == Code::PermissionDenied as i32 && status.message.contains("SPIRE's API"), "{status:?}");

    let certified = asking.certified(&one, &exporter);
    assert_eq!(asking.issue(&channel, Some(certified.clone())).await.unwrap(), r#"Some(Text("tpm-certified"))"#);
    refused(&asking, &channel, Some(certified.clone()), "was used before").await;
    // On another connection, and after another measurement.
    let (later, _) = connect(&world, Some(&identity)).await;
    refused(&asking, &later, Some(certified.clone()), "answers another challenge").await;
    let again = Asking { measured_at: asking.measured_at.plus_seconds(1), ..asking };
    refused(&again, &channel, Some(certified), "answers another challenge").await;
    // Of another key of this TPM, and by another TPM.
    let of_other = asking.certified(&other, &exporter);
    refused(&asking, &channel, Some(of_other), "is not the key of the certificate signing request").await;
    let by_other = Asking { signer: &elsewhere, ..asking };
    let key = by_other.certified(&elsewhere, &exporter);
    refused(&by_other, &channel, Some(key), "the certification's signature").await;
    // Each refusal was of that certification alone.
    let key = again.certified(&one, &exporter);
    again.issue(&channel, Some(key)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_process_gets_a_key_of_the_tpm() {
    let Some(software) = Software::new() else { return };
    drop(software.connect());
    let mut world = World::with(&["--danger-software-tpm-ca", &software.authority(ROOT)]).await;
    // Its node has no TPM.
    let unserved = world.register_with("/own/unserved", &["unix:uid:4242".to_owned()], &["--tpm-key", "true"]).await;
    assert_eq!(world.json(&["entry", "show", &unserved]).await["tpm_key"], true);
    assert!(world.text(&["entry", "show", &unserved]).await.contains("in the TPM of the node"));

    let (socket, issuer) = (software.socket().display().to_string(), software.authority(ISSUER));
    let _agent = world.try_agent("n", &["--tpm", &socket, "--tpm-chain", &issuer]).await.unwrap();
    let agents = world.json(&["agents", "list"]).await;
    let ours = agents.as_array().unwrap().iter().find(|a| a["attestation_type"] == "danger_software_tpm").unwrap();
    (world.agent_id, world.agent_data) = (ours["id"].as_str().unwrap().to_owned(), "n".into());
    world.register_with("/own/resident", &World::own_selectors(), &["--tpm-key", "true"]).await;
    for verb in [&["svid", "fetch"][..], &["svid", "jwt", "--audience", "ledger"]] {
        let (code, out, err) = world.sekisho(verb).await;
        assert!(code != 0 && err.contains("is in the TPM of this node") && err.contains("sidecar"), "{out}{err}");
    }
    let mut envoy = SecretDiscoveryServiceClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let all = envoy.fetch_secrets(DiscoveryRequest::default()).await.unwrap_err();
    assert!(all.code() == Code::PermissionDenied && all.message().contains("is in the TPM"), "{all}");
    // An identity beside it is given, alone.
    world.register("/own/plain", &World::own_selectors()).await;
    let given = world.json(&["svid", "fetch"]).await.to_string();
    assert!(given.contains("/own/plain") && !given.contains("/own/resident"), "{given}");
    let names = envoy.fetch_secrets(DiscoveryRequest::default()).await.unwrap().into_inner().resources.len();
    assert_eq!(names, 2, "the SVID and the authorities");
}

#[tokio::test(start_paused = true)]
async fn an_operator_cannot_register_an_unusable_key() {
    let world = World::with_server(&[]).await;
    let id = format!("spiffe://{TRUST_DOMAIN}/own/admin");
    let parent = format!("spiffe://{TRUST_DOMAIN}/spire/agent/join_token/a");
    let create = ["entry", "create", "--spiffe-id", &id, "--parent-id", &parent, "--selector", "unix:uid:7"];
    let (code, _, err) = world.sekisho(&[&create[..], &["--tpm-key", "true", "--admin", "true"]].concat()).await;
    assert!(code != 0 && err.contains("is delegated to no sidecar"), "{err}");
}
