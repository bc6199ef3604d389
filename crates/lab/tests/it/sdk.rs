//! `sekisho-sdk` as a service sees it: connections close with their SVIDs, and by the rule of the listener.

use std::time::Duration;

use sekisho_sdk::{IdentitySource, SpiffeId, TrustDomain};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{TRUST_DOMAIN, World};

async fn identity(world: &World) -> IdentitySource {
    let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    let identity = IdentitySource::of_self(&world.agent_socket(), &trust_domain).unwrap();
    identity.ready().await;
    identity
}

fn own() -> SpiffeId {
    SpiffeId::parse("spiffe://example.org/own").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l11_a_connection_closes_with_its_svid() {
    let world = World::start();
    world.register_with("/own", &World::own_selectors(), &["--x509-ttl", "6s"]);
    let identity = identity(&world).await;
    let mut listener = identity.listen("127.0.0.1:0".parse().unwrap(), &[], |peer| *peer == own()).await.unwrap();
    let connector = identity.connector(own(), &[]);
    let address = listener.address().to_string();
    let (client, mut server) = tokio::join!(connector.connect(&address), listener.accept());
    let mut client = client.unwrap();
    client.write_all(b"a").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'a');
    let ends = server.peer().svid().not_after;
    // The client neither writes nor closes.
    let closed = tokio::time::timeout(Duration::from_secs(60), server.read_u8()).await.unwrap();
    assert!(closed.unwrap_err().to_string().contains("has expired"));
    assert!(sekisho_ports::now() >= ends, "not before");
    assert!(client.write_all(b"b").await.is_err(), "nor may the other end write");
    // By then the identity has rotated, and a new connection is made with it.
    let (client, server) = tokio::join!(connector.connect(&address), listener.accept());
    assert!(client.is_ok() && server.peer().svid().not_after > ends);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l12_a_revoked_peer_s_connection_closes() {
    let world = World::start();
    let entry = world.register("/own", &World::own_selectors());
    let identity = identity(&world).await;
    let mut listener = identity.listen("127.0.0.1:0".parse().unwrap(), &[], |_| true).await.unwrap();
    let connector = identity.connector(own(), &[]);
    let address = listener.address().to_string();
    let (client, mut server) = tokio::join!(connector.connect(&address), listener.accept());
    let _client = client.unwrap();
    world.text(&["revocation", "create", "--entry", &entry, "--reason", "a test", "--yes"]);
    let closed = tokio::time::timeout(Duration::from_secs(60), server.read_u8()).await.unwrap();
    assert!(closed.unwrap_err().to_string().contains("revoked"));
    assert!(server.write_all(b"a").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_admitted_is_refused() {
    let world = World::start();
    world.register("/own", &World::own_selectors());
    let identity = identity(&world).await;
    let mut listener =
        identity.listen("127.0.0.1:0".parse().unwrap(), &[], |peer| peer.path() == "/other").await.unwrap();
    let address = listener.address().to_string();
    // In TLS 1.3 a client hears of it when it reads.
    let mut client = identity.connector(own(), &[]).connect(&address).await.unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(60), client.read_u8()).await.unwrap();
    assert!(refused.is_err());
    let accepted = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(accepted.is_err(), "it never reaches the service");
    let other = SpiffeId::parse("spiffe://example.org/other").unwrap();
    let mistaken = identity.connector(other, &[]).connect(&address).await;
    assert!(mistaken.is_err_and(|error| error.to_string().contains("was expected")), "nor is a wrong server accepted");
}
