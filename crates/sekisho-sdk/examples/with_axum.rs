//! axum: `with_axum serve ADDRESS CLIENT` and `with_axum call ADDRESS SERVER` know each other by SPIFFE ID.

#![expect(clippy::print_stdout, reason = "it shows who is at the other end")]

use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{Router, body, http};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use sekisho_sdk::{IdentitySource, Peer, SpiffeId};

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
    let listener = identity.listen(address.parse()?, &[b"h2", b"http/1.1"], move |peer| *peer == client).await?;
    println!("ready {}", listener.address());
    let hello = get(|ConnectInfo(peer): ConnectInfo<Peer>| async move { format!("hello {peer}") });
    let service = Router::new().route("/", hello).into_make_service_with_connect_info::<Peer>();
    Ok(axum::serve(listener, service).await?)
}

/// Over HTTP/2: calls share a connection, and the next ones take another after a rotation.
async fn call(identity: &IdentitySource, address: &str, server: SpiffeId) -> Result<(), Problem> {
    let client = |connector| Client::builder(TokioExecutor::new()).build(connector);
    let clients = identity.rotating(server, &[b"h2"], client);
    let uri: http::Uri = format!("https://{address}/").parse()?;
    loop {
        let request = http::Request::get(uri.clone()).body(Body::empty())?;
        let answer = clients.current().request(request).await?;
        let server = answer.extensions().get::<Peer>().map(ToString::to_string).unwrap_or_default();
        let text = body::to_bytes(Body::new(answer.into_body()), 4096).await?;
        println!("{server} answers: {}", String::from_utf8_lossy(&text));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
