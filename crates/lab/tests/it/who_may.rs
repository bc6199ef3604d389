//! Every call of the server against everybody who could make it. A call without a row here fails the test.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use sekisho_net::Identity;
use tonic::Code;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::{self, uri::PathAndQuery};
use tonic::transport::Channel;
use tonic_prost::ProstCodec;
use tower::ServiceExt;

use crate::peers::{Attested, client, stranger};
use crate::within::{World, eventually};

/// Who may call what: `o`perators, `a`gents, and everybody (`*`). Agents are no operators, and operators are no agents.
const GRPC: &[(&str, &str)] = &[
    ("spire.api.server.agent.v1.Agent/AttestAgent", "*"),
    ("spire.api.server.agent.v1.Agent/RenewAgent", "a"),
    ("spire.api.server.agent.v1.Agent/PostStatus", "a"),
    ("spire.api.server.bundle.v1.Bundle/GetBundle", "*"),
    // It is refused to everybody: there is no federation yet.
    ("spire.api.server.bundle.v1.Bundle/GetFederatedBundle", "*"),
    ("spire.api.server.entry.v1.Entry/CountEntries", "o"),
    ("spire.api.server.entry.v1.Entry/ListEntries", "o"),
    ("spire.api.server.entry.v1.Entry/GetEntry", "o"),
    ("spire.api.server.entry.v1.Entry/BatchCreateEntry", "o"),
    ("spire.api.server.entry.v1.Entry/BatchUpdateEntry", "o"),
    ("spire.api.server.entry.v1.Entry/BatchDeleteEntry", "o"),
    ("spire.api.server.entry.v1.Entry/GetAuthorizedEntries", "a"),
    ("spire.api.server.entry.v1.Entry/SyncAuthorizedEntries", "a"),
    ("spire.api.server.svid.v1.SVID/BatchNewX509SVID", "a"),
    ("spire.api.server.svid.v1.SVID/NewJWTSVID", "a"),
    ("sekisho.server.v1.Node/Watch", "a"),
    ("sekisho.server.v1.Node/IssueX509", "a"),
    ("sekisho.server.v1.Node/IssueJwt", "a"),
    ("sekisho.server.v1.Node/Record", "a"),
    // An agent whose node has a TPM, which none of these has.
    ("sekisho.server.v1.Node/ShowState", ""),
];

/// Services that agents serve, and messages that come along with no service.
const OF_AGENTS: &[&str] = &["SpiffeWorkloadAPI", "sekisho.node.v1.Sidecar", "sekisho.node.v1.Inspect"];

struct Peers {
    by_letter: BTreeMap<char, Channel>,
}

impl Peers {
    /// A stranger, a workload, an agent, an agent that was banned, and an operator, all over TLS.
    async fn of(world: &World) -> Self {
        let (agent, banned) = (Attested::new(world).await, Attested::new(world).await);
        let workload = agent.identity_of(&agent.entry(world, "/own/plain").await).await;
        let id = "spiffe://example.org/own/operator";
        let entry = ["entry", "create", "--spiffe-id", id, "--parent-id", &agent.id, "--selector", "unix:uid:7"];
        let entry = world.json(&[&entry[..], &["--admin", "true"]].concat()).await;
        let operator = agent.identity_of(entry["id"].as_str().unwrap()).await;
        world.text(&["agents", "ban", &banned.id]).await;
        let over_tls = |identity: &Identity| client(world, Some(identity));
        let by_letter = BTreeMap::from([
            ('s', stranger(world)),
            ('w', over_tls(&workload)),
            ('a', agent.channel),
            ('b', banned.channel),
            ('o', over_tls(&operator)),
        ]);
        Self { by_letter }
    }
}

/// How a call without content ends, whichever its form.
async fn code(channel: &Channel, method: &str) -> Code {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path: PathAndQuery = format!("/{method}").parse().unwrap();
    let request = tonic::Request::new(tokio_stream::iter([()]));
    let called = async {
        let answer = grpc.streaming(request, path, ProstCodec::<(), ()>::default()).await?;
        answer.into_inner().message().await
    };
    match tokio::time::timeout(std::time::Duration::from_secs(5), called).await {
        Ok(Err(status)) => status.code(),
        // A stream that is open, or an answer.
        _ => Code::Ok,
    }
}

#[tokio::test(start_paused = true)]
async fn law_l6_every_rpc_is_for_whom_the_table_says() {
    let world = World::start().await;
    let files = prost_types::FileDescriptorSet::decode(sekisho_proto::FILE_DESCRIPTORS).unwrap().file;
    let methods = files.iter().flat_map(|file| {
        let named = move |service: &str| match file.package() {
            "" => service.to_owned(),
            package => format!("{package}.{service}"),
        };
        file.service.iter().flat_map(move |service| {
            let service_name = named(service.name());
            service.method.iter().map(move |method| (service_name.clone(), method.name().to_owned()))
        })
    });
    let served: BTreeSet<String> = methods
        .filter(|(service, _)| !OF_AGENTS.contains(&service.as_str()))
        .map(|(service, method)| format!("{service}/{method}"))
        .collect();
    let table: BTreeMap<&str, &str> = GRPC.iter().copied().collect();
    let (peers, mut wrong) = (Peers::of(&world).await, vec![]);
    for method in &served {
        // What SPIRE has and we do not serve is refused to everybody, as unknown.
        let who = table.get(method.as_str()).copied();
        for (letter, channel) in &peers.by_letter {
            let code = code(channel, method).await;
            let may = who.is_some_and(|who| who == "*" || who.contains(*letter));
            let holds = match who {
                None => code == Code::Unimplemented,
                Some(_) => (code != Code::PermissionDenied) == may,
            };
            if !holds {
                wrong.push(format!("{method} called by `{letter}`: {code:?}, and the table says {who:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(table.keys().all(|method| served.contains(*method)), "a row for no method: {table:?} {served:?}");
    world.log_says("this call is for operators").await;
    world.log_says("the client certificate is not an agent's").await;
}

#[tokio::test(start_paused = true)]
async fn law_l6_every_rest_route_is_for_operators() {
    let world = World::start().await;
    let ask = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let said = world.raw("s/api.sock", ask).await;
    let (_, body) = said.split_once("\r\n\r\n").unwrap();
    let body = &body[body.find('{').unwrap()..=body.rfind('}').unwrap()];
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    let peers = Peers::of(&world).await;
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            for (letter, channel) in &peers.by_letter {
                let uri = format!("https://sekisho{}", path.replace(['{', '}'], ""));
                let request = http::Request::builder().method(method.to_uppercase().as_str()).uri(uri);
                let answer = channel.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
                let status = answer.status().as_u16();
                let refused = status == 403;
                assert_eq!(refused, *letter != 'o', "{method} {path} called by `{letter}`: {status}");
                asked += 1;
            }
        }
    }
    assert!(asked > 5 * 15, "{asked}");
    eventually("refusals are in the log", async || (world.leaves("refusal").await.len() > 10).then_some(())).await;
}
