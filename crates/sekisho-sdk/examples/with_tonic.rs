//! tonic: `with_tonic serve ADDRESS CLIENT` and `with_tonic call ADDRESS SERVER` know each other by SPIFFE ID. The
//! service is gRPC's own health check; yours goes in its place.

#![expect(clippy::print_stdout, reason = "it shows who is at the other end")]

use std::time::Duration;

use sekisho_sdk::{IdentitySource, Peer, SpiffeId};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

type Problem = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let [verb, address, peer] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "3 arguments")?;
    let (identity, peer) = (IdentitySource::from_env()?, SpiffeId::parse(&peer)?);
    identity.ready().await;
    match verb.as_str() {
        "serve" => serve(&identity, &address, peer).await,
        _ => call(&identity, &address, peer).await,
    }
}

async fn serve(identity: &IdentitySource, address: &str, client: SpiffeId) -> Result<(), Problem> {
    let listener = identity.listen(address.parse()?, &[b"h2"], move |peer| *peer == client).await?;
    println!("ready {}", listener.address());
    let service = HealthService::from_health_reporter(tonic_health::server::HealthReporter::new());
    let service = HealthServer::with_interceptor(service, |request: Request<()>| {
        let client = request.extensions().get::<Peer>().map(ToString::to_string).unwrap_or_default();
        println!("{client} calls");
        Ok::<_, Status>(request)
    });
    Ok(Server::builder().add_service(service).serve_with_incoming(listener).await?)
}

async fn call(identity: &IdentitySource, address: &str, server: SpiffeId) -> Result<(), Problem> {
    let channel = identity.grpc(Endpoint::from_shared(format!("http://{address}"))?, server.clone());
    let mut client = HealthClient::new(channel);
    loop {
        let answer = client.check(HealthCheckRequest::default()).await?.into_inner();
        println!("{server} answers: {:?}", answer.status());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
