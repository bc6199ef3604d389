//! Operators over TLS, and the connections that they and agents use.

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use prost::Message;
use sekisho_net::{Dialer, ExpectedServer};
use sekisho_proto::spire::entry::v1::{BatchCreateEntryRequest, GetAuthorizedEntriesRequest};
use sekisho_proto::types;
use sekisho_sdk::IdentitySource;
use sekisho_types::{SpiffeId, TrustDomain};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::transport::Channel;
use tower::ServiceExt;

use crate::peers::{Attested, client, clock};
use crate::within::{TRUST_DOMAIN, World};

#[tokio::test(start_paused = true)]
async fn over_tls_only_an_admin_entry_administers() {
    let world = World::start().await;
    let entry = world.register("/own/operator", &World::own_selectors()).await;
    let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    let source = IdentitySource::of_self(&world.agent_socket(), &trust_domain).unwrap();
    source.ready().await;
    let expected = ExpectedServer::Id(SpiffeId::parse("spiffe://example.org/spire/server").unwrap());
    let dialer = Dialer { source: source.tls.clone(), address: world.address.clone(), expected, clock };
    let ask = async || {
        let mut connection = dialer.connect(&[b"http/1.1"]).await.unwrap();
        assert_eq!(connection.peer.group, "X25519MLKEM768", "the post-quantum group is preferred");
        let request = b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        connection.stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        let _closed = connection.stream.read_to_string(&mut answer).await;
        answer
    };
    assert!(ask().await.starts_with("HTTP/1.1 403"));
    world.text(&["entry", "update", &entry, "--admin", "true"]).await;
    assert!(ask().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn one_agent_is_found_by_its_id() {
    let world = World::start().await;
    let listed = world.json(&["agent", "list"]).await;
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let ask = async |query: &str| {
        let request = format!("GET /v1/agents?{query} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        world.raw("s/api.sock", &request).await
    };
    let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    let found: serde_json::Value = serde_json::from_str(&body(&ask(&format!("id={id}")).await)).unwrap();
    assert_eq!(found["agents"], listed);
    assert_eq!(body(&ask("id=spiffe://example.org/spire/agent/join_token/other").await), "{\"agents\":[]}");
    for query in ["id=other", "name=other"] {
        let answer = ask(query).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{query}: {answer}");
    }
    assert_eq!(world.json(&["agent", "show", &id]).await["id"], id.as_str());
}

#[tokio::test(start_paused = true)]
async fn compile_api_answers_by_the_policy_in_force() {
    let world = World::with_server(&[]).await;
    let ask = async |body: &str| {
        let head = "POST /v1/compile HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length:";
        let answer = world.raw("s/api.sock", &format!("{head} {}\r\n\r\n{body}", body.len())).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        (status, serde_json::from_str::<serde_json::Value>(body).unwrap())
    };
    let apply = async |condition: &str| {
        let policy = format!("package workload.authz\ndefault allow := false\nallow if {{ {condition} }}\n");
        std::fs::create_dir_all(world.path("p")).unwrap();
        std::fs::write(world.path("p/p.rego"), policy).unwrap();
        world.text(&["policy", "apply", "./p"]).await;
    };
    let of_method = |method: &str| {
        let query = r#""query":"data.workload.authz.allow == true","unknowns":["input.subject"]"#;
        format!(r#"{{{query},"input":{{"method":"{method}"}}}}"#)
    };
    let (status, found) = ask(&of_method("GET")).await;
    assert_eq!((status.as_str(), &found["code"]), ("404", &"resource_not_found".into()), "{found}");
    apply(r#"input.method == "GET"; input.subject.spiffe_id == "spiffe://a.test/a""#).await;
    let (status, found) = ask(&of_method("PUT")).await;
    assert_eq!((status.as_str(), found), ("200", serde_json::json!({"result": {}})));
    let (_, found) = ask(&of_method("GET")).await;
    assert!(found["result"]["queries"][0].to_string().contains("spiffe://a.test/a"), "{found}");
    apply(r#"input.subject.spiffe_id == "spiffe://a.test/b""#).await;
    let (_, found) = ask(&of_method("PUT")).await;
    assert!(found["result"]["queries"][0].to_string().contains("spiffe://a.test/b"), "{found}");
    let (status, found) = ask(r#"{"query":"data.workload.authz.allow =="}"#).await;
    let parts = (status.as_str(), &found["code"], found["message"] == found["detail"]);
    assert_eq!(parts, ("400", &"invalid_parameter".into(), true), "{found}");
    assert!(found["message"].as_str().unwrap().starts_with("query:1"), "{found}");
}

/// A request of which all but the last bytes are sent; the rest goes when that is ordered.
fn begun(server: &Channel, method: &str, path: &str, content: &[u8]) -> (mpsc::Sender<Bytes>, Bytes, Answering) {
    let (first, rest) = content.split_at(content.len() - 3);
    let (sender, parts) = mpsc::channel(2);
    sender.try_send(Bytes::copy_from_slice(first)).unwrap();
    let parts = ReceiverStream::new(parts).map(|part| Ok::<_, tonic::Status>(Frame::data(part)));
    let is_rest = path.starts_with("/v1/");
    let kind = if is_rest { "application/json" } else { "application/grpc" };
    let request = Request::builder().method(method).uri(format!("https://sekisho{path}")).header("content-type", kind);
    let request = request.header("te", "trailers").body(Body::new(StreamBody::new(parts))).unwrap();
    let answering = tokio::spawn(server.clone().oneshot(request));
    (sender, Bytes::copy_from_slice(rest), answering)
}

type Answering = tokio::task::JoinHandle<Result<Response<Body>, tonic::transport::Error>>;

#[tokio::test(start_paused = true)]
async fn law_l6_a_late_request_is_checked_again() {
    let world = World::start().await;
    let agent = Attested::new(&world).await;
    let id = "spiffe://example.org/own/operator";
    let entry = ["entry", "create", "--spiffe-id", id, "--parent-id", &agent.id, "--selector", "unix:uid:7"];
    let entry = world.json(&[&entry[..], &["--admin", "true"]].concat()).await;
    let operator = client(&world, Some(&agent.identity_of(entry["id"].as_str().unwrap()).await));
    let late = types::Entry {
        spiffe_id: Some(types::Spiffeid { trust_domain: TRUST_DOMAIN.into(), path: "/own/late".into() }),
        parent_id: Some(types::Spiffeid { trust_domain: TRUST_DOMAIN.into(), path: "/spire/server".into() }),
        selectors: vec![types::Selector { r#type: "unix".into(), value: "uid:7".into() }],
        admin: true,
        ..Default::default()
    };
    let framed = |message: Vec<u8>| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0], &length[..], &message].concat()
    };
    let create = framed(BatchCreateEntryRequest { entries: vec![late], ..Default::default() }.encode_to_vec());
    let mask = types::EntryMask { spiffe_id: true, ..Default::default() };
    let authorized = framed(GetAuthorizedEntriesRequest { output_mask: Some(mask) }.encode_to_vec());
    let begin = || {
        [
            begun(&operator, "POST", "/spire.api.server.entry.v1.Entry/BatchCreateEntry", &create),
            begun(&operator, "POST", "/v1/tokens", br#"{"ttl":600,"agent_id":"late"}"#),
            begun(&operator, "GET", "/v1/entries", b"not read"),
            begun(&agent.channel, "POST", "/spire.api.server.entry.v1.Entry/GetAuthorizedEntries", &authorized),
        ]
    };
    let finish = async |begun: [(mpsc::Sender<Bytes>, Bytes, Answering); 4]| {
        let mut answers = vec![];
        for (sender, rest, answering) in begun {
            sender.send(rest).await.unwrap();
            drop(sender);
            let answer = answering.await.unwrap().unwrap();
            let of_grpc = answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
            answers.push(of_grpc.unwrap_or_else(|| answer.status().as_u16().to_string()));
        }
        answers
    };
    let both = begin();
    // They wait for admission.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    world.text(&["agents", "ban", &agent.id]).await;
    assert_eq!(finish(both).await, ["7", "403", "403", "7"]);
    assert!(!world.text(&["entry", "list"]).await.contains("/own/late"));
    assert!(!world.text(&["token", "list"]).await.contains("late"));
    world.log_says("this call is for operators").await;
    world.log_says("the agent is banned").await;
}

#[tokio::test(start_paused = true)]
async fn law_l16_what_weakens_safety_says_so_in_its_name() {
    let world = World::start().await;
    // The cache is written within a second.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let sealed = std::fs::read(world.path("a/cache.sealed")).unwrap();
    assert!(sealed.starts_with(b"sekisho-sealed/1 insecure-key-file-0600\n"));
    let checks = world.sekisho(&["doctor"]).await.1;
    assert!(checks.contains("insecure-key-file-0600"), "{checks}");
}
