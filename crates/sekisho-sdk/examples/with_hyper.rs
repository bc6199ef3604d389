//! hyper: `with_hyper serve ADDRESS CLIENT` and `with_hyper call ADDRESS SERVER` know each other by SPIFFE ID.

#![expect(clippy::print_stdout, reason = "it shows who is at the other end")]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
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
    let mut listener = identity.listen(address.parse()?, &[b"h2", b"http/1.1"], move |peer| *peer == client).await?;
    println!("ready {}", listener.address());
    loop {
        let connection = listener.accept().await;
        let peer = connection.peer().clone();
        tokio::spawn(async move {
            let answer = service_fn(|_request: Request<Incoming>| {
                let text = format!("hello {peer}");
                async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text)))) }
            });
            let served = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), answer).await;
            served.inspect_err(|error| println!("closed: {error}"))
        });
    }
}

async fn call(identity: &IdentitySource, address: &str, server: SpiffeId) -> Result<(), Problem> {
    let client = |connector| Client::builder(TokioExecutor::new()).build(connector);
    let clients = identity.rotating(server, &[b"http/1.1"], client);
    let uri: hyper::Uri = format!("https://{address}/").parse()?;
    loop {
        let request = hyper::Request::get(uri.clone()).body(Empty::<Bytes>::new())?;
        let answer = clients.current().request(request).await?;
        let server = answer.extensions().get::<Peer>().map(ToString::to_string).unwrap_or_default();
        let text = answer.into_body().collect().await?.to_bytes();
        println!("{server} answers: {}", String::from_utf8_lossy(&text));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
