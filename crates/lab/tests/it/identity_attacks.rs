//! Attacks by agents and workloads on identities. Each gets a clear refusal that is in the log; nothing is lost.

use std::time::Duration;

use sekisho_evidence::NodeCertificate;
use sekisho_identity::{Bundle, csr_der, verify_svid};
use sekisho_net::Identity;
use sekisho_proto::server::{
    IssueJwtRequest, IssueX509Request, RecordRequest, issue_x509_request::Item, node_client::NodeClient,
};
use sekisho_proto::spire::agent::v1::{PostStatusRequest, RenewAgentRequest, agent_client::AgentClient};
use sekisho_proto::spire::entry::v1::{
    BatchCreateEntryRequest, GetAuthorizedEntriesRequest, ListEntriesRequest, entry_client::EntryClient,
};
use sekisho_proto::spire::svid::v1::{BatchNewX509svidRequest, NewX509svidParams, svid_client::SvidClient};
use sekisho_proto::workload::{
    JwtBundlesRequest, ValidateJwtsvidRequest, X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use sekisho_types::{Secret, SpiffeId, TrustDomain};
use tonic::{Code, Request};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::openssl::Openssl;
use crate::peers::{Attested, attest, attest_with, client, clock, key, stranger};
use crate::within::{World, eventually};

#[tokio::test(start_paused = true)]
async fn a_malformed_csr_spends_no_token() {
    let world = World::start().await;
    let openssl = Openssl::new();
    let good = csr_der(&key(), None).unwrap();
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    let bad = [
        vec![],
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
        broken,
        openssl.csr("-newkey rsa:1024", ""),
        openssl.csr("-newkey ec -pkeyopt ec_paramgen_curve:secp521r1", ""),
        openssl.csr(EC, "-addext subjectAltName=URI:spiffe://example.org/a,URI:spiffe://example.org/b"),
        openssl.csr(EC, "-addext subjectAltName=URI:spiffe://example.org/../a"),
        vec![0x30; 20_000],
    ];
    let made = world.json(&["token", "create"]).await;
    let token = made["token"].as_str().unwrap().as_bytes();
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/a").await;
    for csr in &bad {
        let refused = attest_with(stranger(&world), "join_token", token, csr).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        let refused = peer.issue_with(&entry, csr, &["unix:uid:7"], clock()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    world.log_says("the caller does not hold the key").await;
    attest(&world, "join_token", token).await.map(|_| ()).unwrap();
}

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

#[tokio::test(start_paused = true)]
async fn foreign_and_expired_agent_svids_are_refused() {
    let world = World::with(&["--agent-ttl", "20s"]).await;
    let openssl = Openssl::new();
    let (leaf, leaf_key) = openssl.leaf(
        "agent",
        "subjectAltName=URI:spiffe://example.org/spire/agent/join_token/x\n\
         keyUsage=critical,digitalSignature\nbasicConstraints=CA:false",
    );
    let foreign = Identity { chain: vec![leaf], key: Secret::new(leaf_key) };
    let status = || RenewAgentRequest { params: None };
    let refused = AgentClient::new(client(&world, Some(&foreign))).renew_agent(status()).await.unwrap_err();
    assert_ne!(refused.code(), Code::Ok);
    world.log_says("the TLS handshake failed").await;
    let peer = Attested::new(&world).await;
    peer.issue(&peer.entry(&world, "/own/b").await).await.unwrap();
    tokio::time::sleep(Duration::from_secs(21)).await;
    // On the connection that is open, and on a new one.
    let expired = AgentClient::new(peer.channel.clone()).renew_agent(status()).await.unwrap_err();
    assert!(expired.message().contains("expired"), "{expired:?}");
    assert!(AgentClient::new(client(&world, Some(&peer.identity))).renew_agent(status()).await.is_err());
    world.log_says("the agent's SVID has expired").await;
}

#[tokio::test(start_paused = true)]
async fn law_l6_a_banned_agent_gets_nothing_by_any_call() {
    let world = World::start().await;
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/c").await;
    peer.issue(&entry).await.unwrap();
    world.text(&["agents", "ban", &peer.id]).await;
    let channel = || peer.channel.clone();
    let csr = csr_der(&key(), None).unwrap();
    let params = vec![NewX509svidParams { entry_id: entry.clone(), csr }];
    let jwt = IssueJwtRequest { entry_id: entry.clone(), audience: vec!["a".into()], evidence: None };
    let refusals = [
        peer.issue(&entry).await.map(drop).unwrap_err(),
        NodeClient::new(channel()).issue_jwt(jwt).await.map(drop).unwrap_err(),
        NodeClient::new(channel()).record(RecordRequest::default()).await.map(drop).unwrap_err(),
        NodeClient::new(channel()).watch(tokio_stream::empty()).await.map(drop).unwrap_err(),
        SvidClient::new(channel()).batch_new_x509svid(BatchNewX509svidRequest { params }).await.map(drop).unwrap_err(),
        EntryClient::new(channel())
            .get_authorized_entries(GetAuthorizedEntriesRequest::default())
            .await
            .map(drop)
            .unwrap_err(),
        AgentClient::new(channel()).renew_agent(RenewAgentRequest { params: None }).await.map(drop).unwrap_err(),
        AgentClient::new(channel()).post_status(PostStatusRequest::default()).await.map(drop).unwrap_err(),
    ];
    for refused in refusals {
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
        assert!(refused.message().contains("banned"), "{refused:?}");
    }
    world.log_says("the agent is banned").await;
    // An evicted agent has to attest again, and its entries are not served.
    let other = Attested::new(&world).await;
    let theirs = other.entry(&world, "/own/d").await;
    world.text(&["agents", "evict", &other.id]).await;
    assert_eq!(other.issue(&theirs).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn an_expired_join_token_is_refused() {
    let world = World::start().await;
    let made = world.json(&["token", "create", "--ttl", "1s"]).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let refused = attest(&world, "join_token", made["token"].as_str().unwrap().as_bytes()).await.err().unwrap();
    // SPIRE's code.
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("expired") && refused.message().contains("sekisho token create"), "{refused:?}");
    world.log_says("the join token has expired").await;
}

#[tokio::test(start_paused = true)]
async fn law_l6_an_agent_gets_only_its_own_entries() {
    let world = World::start().await;
    let (ours, theirs) = (Attested::new(&world).await, Attested::new(&world).await);
    let (own, foreign) = (ours.entry(&world, "/own/e").await, theirs.entry(&world, "/own/f").await);
    let refused = ours.issue(&foreign).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    assert_eq!(ours.issue("ent_of_nobody").await.unwrap_err().code(), Code::NotFound);
    let csr = csr_der(&key(), None).unwrap();
    let lacking = ours.issue_with(&own, &csr, &["unix:uid:8"], clock()).await.unwrap_err();
    assert_eq!(lacking.code(), Code::PermissionDenied, "{lacking:?}");
    assert!(lacking.message().contains("unix:uid:7"), "{lacking:?}");
    assert_eq!(ours.issue_with(&own, &csr, &[], clock()).await.unwrap_err().code(), Code::InvalidArgument);
    for wrong in [-120, 120] {
        // A wrong clock is reported, and is not a decision against the process.
        let stale = ours.issue_with(&own, &csr, &["unix:uid:7"], clock().plus_seconds(wrong)).await.unwrap_err();
        assert_eq!(stale.code(), Code::FailedPrecondition, "{stale:?}");
    }
    let other = SpiffeId::parse("spiffe://example.org/own/f").unwrap();
    let named = ours.issue_with(&own, &csr_der(&key(), Some(&other)).unwrap(), &["unix:uid:7"], clock()).await;
    assert_eq!(named.unwrap_err().code(), Code::InvalidArgument);
    world.log_says("lacks a selector").await;
}

#[tokio::test(start_paused = true)]
async fn agents_are_no_operators_and_pages_have_bounds() {
    let world = World::start().await;
    let peer = Attested::new(&world).await;
    let list = |page_size| ListEntriesRequest { page_size, ..Default::default() };
    let refused = EntryClient::new(peer.channel.clone()).list_entries(list(0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    world.log_says("this call is for operators").await;
    let local = sekisho_net::grpc_over_unix(world.path("s/api.sock"));
    let mut entries = EntryClient::new(local);
    assert_eq!(entries.list_entries(list(-1)).await.unwrap_err().code(), Code::InvalidArgument);
    let entry = |n: u32| sekisho_proto::types::Entry {
        spiffe_id: Some(sekisho_proto::types::Spiffeid { trust_domain: "example.org".into(), path: format!("/p/{n}") }),
        parent_id: Some(sekisho_proto::types::Spiffeid { trust_domain: "example.org".into(), path: "/node".into() }),
        selectors: vec![sekisho_proto::types::Selector { r#type: "unix".into(), value: format!("uid:{n}") }],
        ..Default::default()
    };
    for batch in 0..3 {
        let request =
            BatchCreateEntryRequest { entries: (0..500).map(|n| entry(batch * 500 + n)).collect(), output_mask: None };
        entries.batch_create_entry(request).await.unwrap();
    }
    // However many are asked for, and whatever one remembers of the page before.
    let page = entries.list_entries(list(i32::MAX)).await.unwrap().into_inner();
    assert!(page.entries.len() <= 1000 && !page.next_page_token.is_empty(), "{}", page.entries.len());
    let mut odd = list(10);
    odd.page_token = "../../etc/passwd".into();
    assert_eq!(entries.list_entries(odd).await.unwrap_err().code(), Code::InvalidArgument);
    let many = BatchCreateEntryRequest { entries: vec![Default::default(); 1001], output_mask: None };
    assert_eq!(entries.batch_create_entry(many).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn law_l9_after_an_oversized_message_service_continues() {
    let world = World::start().await;
    world.register("/own/test", &World::own_selectors()).await;
    let mut workload = SpiffeWorkloadApiClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let request = |svid| ValidateJwtsvidRequest { audience: "a".into(), svid };
    let refused = workload.validate_jwtsvid(request("a".repeat(70_000))).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert_eq!(workload.validate_jwtsvid(request("a.b.c".into())).await.unwrap_err().code(), Code::InvalidArgument);
    recorded(&world, "ValidateJWTSVID").await;
    let peer = Attested::new(&world).await;
    let mut node = NodeClient::new(peer.channel.clone());
    let many = IssueX509Request { items: vec![Item::default(); 501] };
    assert_eq!(node.issue_x509(many).await.unwrap_err().code(), Code::InvalidArgument);
    world.log_says("at most 500 requests").await;
    // Bytes that are another message, or none.
    let mut grpc = tonic::client::Grpc::new(peer.channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<RecordRequest, ()>::default();
    let path = "/spire.api.server.agent.v1.Agent/RenewAgent".parse().unwrap();
    let other = RecordRequest { records: vec![vec![0xff; 10].into()], ..Default::default() };
    let refused = grpc.unary(Request::new(other), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal, "{refused:?}");
    world.log_says("failed to decode Protobuf message").await;
    let records = |records, key: &str| RecordRequest { records, lost: 0, batch_key: key.into() };
    let refused = node.record(records(vec!["a".repeat(5_000_000).into()], "s:0")).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    for key in ["x:18446744073709551615", "x:-1", "x", "x:9223372036854775809"] {
        let refused = node.record(records(vec!["{}".into()], key)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{key}: {refused:?}");
    }
    let record = |at: i64| {
        let input = r#""input":{"destination":"spiffe://example.org/a"}"#;
        format!(
            r#"{{"id":"dec_{at:012x}66778899aabbccddeeff","at_ms":{at},"kind":"decision","effect":"allow",{input}}}"#
        )
    };
    let now = clock().millis();
    // Older than what is kept: it would make every segment a place to look for other records.
    let refused = node.record(records(vec![record(now).into(), record(5).into()], "s:0")).await.unwrap_err();
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("older than"), "{refused:?}");
    let record = record(now);
    let first = node.record(records(vec![record.clone().into()], "s:0")).await.unwrap().into_inner().log_index;
    let again = node.record(records(vec![record.clone().into()], "s:0")).await.unwrap().into_inner().log_index;
    assert_eq!(first, again, "a repeated batch is recorded once");
}

#[tokio::test(start_paused = true)]
async fn law_l5_what_a_spool_lost_is_counted_once() {
    let world = World::start().await;
    let peer = Attested::new(&world).await;
    let mut node = NodeClient::new(peer.channel.clone());
    // The same loss is reported again, and then a larger total.
    for lost in [7, 7, 9] {
        node.record(RecordRequest { records: vec![], lost, batch_key: "g:0".into() }).await.unwrap();
    }
    let gaps = eventually("two gaps", async || Some(world.leaves("gap").await).filter(|gaps| gaps.len() >= 2)).await;
    let lost: Vec<i64> = gaps.iter().map(|gap| gap["lost"].as_i64().unwrap()).collect();
    assert_eq!(lost, [7, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_header_is_refused_on_every_service() {
    let world = World::start().await;
    world.register("/own/test", &World::own_selectors()).await;
    let channel = sekisho_net::grpc_over_unix(world.agent_socket());
    for values in [&[][..], &["false"], &["TRUE"], &["true", "true"], &["true", "false"], &["true "]] {
        let dress = |mut request: Request<()>| {
            for value in values {
                request.metadata_mut().append("workload.spiffe.io", value.parse().unwrap());
            }
            Ok::<_, tonic::Status>(request)
        };
        let mut workload = SpiffeWorkloadApiClient::with_interceptor(channel.clone(), dress);
        let mut inspect = sekisho_proto::node::inspect_client::InspectClient::with_interceptor(channel.clone(), dress);
        let mut sidecar = sekisho_proto::node::sidecar_client::SidecarClient::with_interceptor(channel.clone(), dress);
        let mut reflection = ServerReflectionClient::with_interceptor(channel.clone(), dress);
        let refusals = [
            workload.fetch_x509svid(X509svidRequest::default()).await.map(drop),
            workload.fetch_jwt_bundles(JwtBundlesRequest::default()).await.map(drop),
            inspect.status(sekisho_proto::node::StatusRequest {}).await.map(drop),
            sidecar.watch_policy(sekisho_proto::node::WatchPolicyRequest::default()).await.map(drop),
            reflection.server_reflection_info(tokio_stream::empty()).await.map(drop),
        ];
        // One value with a blank behind it is the value, by the rules of HTTP.
        let fine = values == ["true "];
        for refused in refusals.into_iter().take(if fine { 0 } else { 5 }) {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{values:?}");
            // It is on record, and its caller hears under which name.
            assert!(refused.metadata().get("sekisho-refusal").is_some(), "{refused:?}");
        }
    }
    recorded(&world, "`workload.spiffe.io: true` is missing").await;
    recorded(&world, "ServerReflectionInfo").await;
}

/// Waits until a refusal that says this stands with the server.
async fn recorded(world: &World, text: &str) {
    eventually(&format!("a record of {text:?}"), async || {
        let listed = world.json(&["decisions", "--effect", "refusal", "--limit", "1000"]).await;
        listed.to_string().contains(text).then_some(())
    })
    .await;
}

#[test]
fn x509_svids_that_are_none_are_refused() {
    let openssl = Openssl::new();
    let mut bundle = Bundle::empty(TrustDomain::parse("example.org").unwrap());
    bundle.add_x509(openssl.authority()).unwrap();
    let san = "subjectAltName=URI:spiffe://example.org/a";
    let usage = "keyUsage=critical,digitalSignature";
    let check = |name: &str, extensions: &str| {
        let (leaf, _) = openssl.leaf(name, extensions);
        verify_svid(&[leaf], &bundle, clock()).map(|leaf| leaf.get().spiffe_id.to_string()).map_err(|e| e.to_string())
    };
    let good =
        check("good", &format!("{san}\n{usage}\nbasicConstraints=CA:false\nextendedKeyUsage=serverAuth,clientAuth"));
    assert_eq!(good.as_deref(), Ok("spiffe://example.org/a"));
    for (name, extensions) in [
        ("two URIs", format!("{san},URI:spiffe://example.org/b\n{usage}")),
        ("no URI", format!("subjectAltName=DNS:example.org\n{usage}")),
        ("a foreign trust domain", format!("subjectAltName=URI:spiffe://other.org/a\n{usage}")),
        ("no path", format!("subjectAltName=URI:spiffe://example.org\n{usage}")),
        ("dot segments", format!("subjectAltName=URI:spiffe://example.org/a/../b\n{usage}")),
        ("a query", format!("subjectAltName=URI:spiffe://example.org/a?b\n{usage}")),
        ("CA bit", format!("{san}\n{usage}\nbasicConstraints=critical,CA:true")),
        ("no key usage", san.to_owned()),
        ("certificate signing", format!("{san}\nkeyUsage=critical,digitalSignature,keyCertSign")),
        ("CRL signing", format!("{san}\nkeyUsage=critical,digitalSignature,cRLSign")),
        ("unknown critical extension", format!("{san}\n{usage}\n1.2.3.4.5=critical,DER:0500")),
        ("only code signing", format!("{san}\n{usage}\nextendedKeyUsage=codeSigning")),
        // An extension without any usage in it: step-ca's CVE-2026-40097 was a panic on one.
        ("no usage at all", format!("{san}\n{usage}\n2.5.29.37=DER:3000")),
        ("an extended usage that is cut off", format!("{san}\n{usage}\n2.5.29.37=DER:300a")),
        ("a key usage without bits", format!("{san}\n2.5.29.15=critical,DER:030100")),
        ("a name that is no text", format!("{usage}\n2.5.29.17=DER:3004860280ff")),
    ] {
        let refused = check(name, &extensions);
        assert!(refused.is_err(), "{name}: {refused:?}");
    }
    let (leaf, _) = openssl.leaf("times", &format!("{san}\n{usage}\nbasicConstraints=CA:false"));
    let day = 24 * 3600;
    for (at, good) in [(clock(), true), (clock().plus_seconds(-day), false), (clock().plus_seconds(2 * day), false)] {
        assert_eq!(verify_svid(std::slice::from_ref(&leaf), &bundle, at).is_ok(), good, "{at}");
    }
    // Another authority of the same name, and a chain that is longer than any of ours.
    let mut other = Bundle::empty(TrustDomain::parse("example.org").unwrap());
    other.add_x509(Openssl::new().authority()).unwrap();
    assert!(verify_svid(std::slice::from_ref(&leaf), &other, clock()).is_err());
    let long: Vec<_> = std::iter::once(leaf).chain(std::iter::repeat_n(openssl.authority(), 40)).collect();
    assert!(verify_svid(&long, &bundle, clock()).is_err());
}

/// What SPIRE's `x509pop` learned, and step-ca: a node's certificate is a leaf, meant to sign, and good now.
#[test]
fn node_certificates_that_are_none_are_refused() {
    use base64::Engine as _;
    let openssl = Openssl::new();
    let roots = [openssl.authority()];
    let payload = |chain: &[Vec<u8>]| {
        let chain: Vec<String> =
            chain.iter().map(|der| base64::engine::general_purpose::STANDARD.encode(der)).collect();
        serde_json::json!({ "certificates": chain }).to_string()
    };
    let domain = TrustDomain::parse("example.org").unwrap();
    let check = |chain: &[Vec<u8>], at| NodeCertificate::verify(payload(chain).as_bytes(), &roots, &domain, at).is_ok();
    let usage = "keyUsage=critical,digitalSignature";
    let (good, _) = openssl.leaf("node", &format!("{usage}\nbasicConstraints=CA:false"));
    let day = 24 * 3600;
    assert!(check(std::slice::from_ref(&good), clock()));
    assert!(!check(std::slice::from_ref(&good), clock().plus_seconds(-day)), "not yet");
    assert!(!check(std::slice::from_ref(&good), clock().plus_seconds(2 * day)), "no more");
    assert!(!check(&[], clock()), "nothing");
    assert!(!check(&roots, clock()), "the authority itself");
    for (name, extensions) in [
        ("no usage", "basicConstraints=CA:false".to_owned()),
        ("only agreement", "keyUsage=critical,keyAgreement\nbasicConstraints=CA:false".to_owned()),
        (
            "an authority",
            "keyUsage=critical,digitalSignature,keyCertSign\nbasicConstraints=critical,CA:true".to_owned(),
        ),
        ("no extended usage at all", format!("{usage}\n2.5.29.37=DER:3000")),
        ("an unknown critical extension", format!("{usage}\n1.2.3.4.5=critical,DER:0500")),
    ] {
        let (leaf, _) = openssl.leaf("node", &extensions);
        assert!(!check(&[leaf], clock()), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn attestation_messages_out_of_order_are_refused() {
    use sekisho_proto::spire::agent::v1 as wire;
    use wire::attest_agent_request::{Params, Step};
    let world = World::start().await;
    let made = world.json(&["token", "create"]).await;
    let params = |kind: &str, payload: &str| {
        let data = sekisho_proto::types::AttestationData { r#type: kind.into(), payload: payload.into() };
        let csr = csr_der(&key(), None).unwrap();
        Step::Params(Params { data: Some(data), params: Some(wire::AgentX509svidParams { csr }) })
    };
    let token = || params("join_token", made["token"].as_str().unwrap());
    let empty = Step::Params(Params { data: None, params: None });
    for (name, steps) in [
        ("an answer to no question", vec![Step::ChallengeResponse(vec![1])]),
        ("nothing", vec![]),
        ("empty", vec![empty]),
        ("an answer first", vec![Step::ChallengeResponse(vec![]), token()]),
    ] {
        let stream = tokio_stream::iter(steps.into_iter().map(|step| wire::AttestAgentRequest { step: Some(step) }));
        let answer =
            async { AgentClient::new(stranger(&world)).attest_agent(stream).await?.into_inner().message().await };
        let refused = answer.await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}: {refused:?}");
    }
    // None of it spent the token.
    attest(&world, "join_token", made["token"].as_str().unwrap().as_bytes()).await.map(|_| ()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn unverified_certificates_give_no_node_selectors() {
    let (nodes, secret) = (Openssl::new(), Openssl::new());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    nodes.node(folder.path());
    std::fs::write(path("both.pem"), [nodes.authority_pem(), secret.authority_pem()].concat()).unwrap();
    let world = World::with(&["--x509pop-ca", &path("both.pem")]).await;
    // The node sends along the certificate of the authority that others are known by.
    let node = std::fs::read(path("node.pem")).unwrap();
    std::fs::write(path("sent.pem"), [node, secret.authority_pem()].concat()).unwrap();
    let proof = ["--node-cert", &path("sent.pem"), "--node-key", &path("node.key")];
    let _agent = world.try_agent("n", &proof).await.unwrap();
    let agents = world.json(&["agents", "list"]).await;
    let ours = agents.as_array().unwrap().iter().find(|a| a["attestation_type"] == "x509pop").unwrap();
    let selectors = ours["selectors"].to_string();
    assert!(selectors.contains(&nodes.authority_sha1()), "{selectors}");
    assert!(!selectors.contains(&secret.authority_sha1()), "{selectors}");
    // Bounds: a chain of seven, and a payload of more than 64 KiB.
    use base64::Engine as _;
    let one = base64::engine::general_purpose::STANDARD.encode(nodes.authority());
    for payload in [
        serde_json::json!({"certificates": vec![one.clone(); 7]}),
        serde_json::json!({"certificates": ["A".repeat(70_000)]}),
    ] {
        let refused = attest(&world, "x509pop", payload.to_string().as_bytes()).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}
