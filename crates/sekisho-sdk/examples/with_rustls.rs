//! Plain rustls: `with_rustls serve ADDRESS CLIENT` and `with_rustls call ADDRESS SERVER` know each other by SPIFFE ID.
//! One configuration serves over all rotations: each handshake takes the SVID that is in force then.

#![expect(clippy::print_stdout, reason = "it shows who is at the other end")]

use std::time::Duration;

use sekisho_sdk::{IdentitySource, SpiffeId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

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
    let tls = identity.admitting(move |peer| *peer == client);
    let acceptor = TlsAcceptor::from(tls.rustls_server(&[])?);
    let listener = TcpListener::bind(address).await?;
    println!("ready {}", listener.local_addr()?);
    loop {
        let (stream, _from) = listener.accept().await?;
        let (acceptor, tls) = (acceptor.clone(), tls.clone());
        tokio::spawn(async move {
            let mut stream = acceptor.accept(stream).await?;
            let client = tls.peer(stream.get_ref().1)?;
            stream
                .write_all(format!("hello {} serial {}", client.get().spiffe_id, client.get().serial).as_bytes())
                .await?;
            Ok::<_, Problem>(stream.shutdown().await?)
        });
    }
}

async fn call(identity: &IdentitySource, address: &str, server: SpiffeId) -> Result<(), Problem> {
    let connector = TlsConnector::from(identity.tls.rustls_client(&server, &[])?);
    loop {
        let stream = TcpStream::connect(address).await?;
        // The server is known by its SPIFFE ID. Of an address, no name is sent.
        let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
        let mut stream = connector.connect(name, stream).await?;
        let server = identity.tls.peer(stream.get_ref().1)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        println!("{} serial {} answers: {text}", server.get().spiffe_id, server.get().serial);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
