//! An RPC that does nothing, over our transport: what requests cost before the server has done anything for them.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sekisho_identity::Bundle;
use sekisho_net::{Dialer, ExpectedServer, Identity, Site, Sites, TlsMaterial, TlsSource, grpc_over_tls, serve_tls};
use sekisho_ports::TcpListener;
use sekisho_proto::spire::svid::v1::{self as wire, svid_client::SvidClient, svid_server};
use sekisho_proto::types;
use sekisho_types::{Secret, SpiffeId};
use serde_json::{Value, json};
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::identity::{AGENTS, calls};
use crate::measure::{Table, cpu_micros, percentile};
use crate::peers::{Attested, clock, key};
use crate::world::{Role, World};

/// Answers each request with what it was made with.
struct Idle {
    svid: types::X509svid,
}

#[tonic::async_trait]
impl svid_server::Svid for Idle {
    async fn batch_new_x509svid(
        &self,
        request: Request<wire::BatchNewX509svidRequest>,
    ) -> Result<Response<wire::BatchNewX509svidResponse>, Status> {
        let result = |_| wire::batch_new_x509svid_response::Result {
            status: Some(types::Status::default()),
            svid: Some(self.svid.clone()),
        };
        let results = request.into_inner().params.iter().map(result).collect();
        Ok(Response::new(wire::BatchNewX509svidResponse { results }))
    }

    async fn new_jwtsvid(
        &self,
        _: Request<wire::NewJwtsvidRequest>,
    ) -> Result<Response<wire::NewJwtsvidResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}

/// The process that answers, with the identity and the authority that a file holds.
pub async fn serve(file: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    let given: Value = serde_json::from_str(&text).unwrap();
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let chain: Vec<Vec<u8>> = given["chain"].as_array().unwrap().iter().map(bytes).collect();
    let identity = Identity { chain: chain.clone(), key: Secret::new(bytes(&given["key"])) };
    let id = SpiffeId::parse(given["id"].as_str().unwrap()).unwrap();
    let source = TlsSource::new(TlsMaterial::new(Some(&identity), bundle(&id, &bytes(&given["authority"]))).unwrap());
    let svid = types::X509svid { cert_chain: chain, id: None, expires_at: 1, hint: String::new() };
    let router = Routes::new(svid_server::SvidServer::new(Idle { svid })).into_axum_router();
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    println!("ready {}", listener.local_addr().unwrap());
    let rejected = Arc::new(|peer, reason| eprintln!("{peer}: {reason}"));
    let site = Site { names: vec!["example.org".into()], source, router, rejected };
    serve_tls(listener, Sites::new(vec![site], Default::default()).unwrap(), clock).await;
}

fn bundle(id: &SpiffeId, authority: &[u8]) -> Arc<Bundle> {
    let mut bundle = Bundle::empty(id.trust_domain());
    bundle.add_x509(authority.to_vec()).unwrap();
    Arc::new(bundle)
}

/// Microseconds of the answering process for each request of `callers`, and what a caller sees.
pub async fn transport(table: &mut Table) {
    let world = World::start();
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/bench/answers").await;
    let identity = peer.identity_of(&entry).await;
    let id = SpiffeId::parse("spiffe://example.org/bench/answers").unwrap();
    let authority = authority(&world);
    let given = json!({
        "id": id.to_string(),
        "chain": identity.chain.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>(),
        "key": STANDARD.encode(identity.key.expose()),
        "authority": STANDARD.encode(&authority),
    });
    let input = world.path("answers.json");
    std::fs::write(&input, given.to_string()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("answer").arg(&input);
    let answering = Role::start(&mut command);
    let address = answering.ready();
    let dial = |identity: &Identity| -> Channel {
        let source = TlsSource::new(TlsMaterial::new(Some(identity), bundle(&id, &authority)).unwrap());
        grpc_over_tls(Dialer { source, address: address.clone(), expected: ExpectedServer::Id(id.clone()), clock })
    };
    let csr = sekisho_identity::csr_der(&key(), None).unwrap();
    let params = wire::NewX509svidParams { entry_id: entry, csr };
    for (callers, batch) in [(1, 1), (16, 1), (256, 1), (8, 50)] {
        let clients: Vec<_> = (0..AGENTS).map(|_| SvidClient::new(dial(&peer.identity))).collect();
        let (began, before) = (Instant::now(), cpu_micros(answering.pid()));
        let asked = (0..callers).map(|caller| (clients[caller % AGENTS].clone(), params.clone()));
        let mut times = calls(asked, batch, Duration::from_secs(5)).await;
        let each = (cpu_micros(answering.pid()) - before) / times.len() as f64;
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        let p50 = percentile(&mut times, 0.5);
        table.add(
            format!("an RPC of this size that does nothing, {callers} callers, {batch} a call"),
            format!("{rate:.0} per second, {each:.0} µs of its server's CPU, p50 {p50:.1} ms"),
            "the transport's part of an issuance",
        );
    }
}

fn authority(world: &World) -> Vec<u8> {
    let pem = world.text(&["bundle", "show"]);
    let body: String = pem.lines().filter(|line| !line.starts_with(['-', '#'])).collect();
    STANDARD.decode(body).unwrap()
}
