//! Operators over TLS, and the connections that they and agents use.

use std::process::Command;

use sekisho_net::{Dialer, ExpectedServer};
use sekisho_sdk::IdentitySource;
use sekisho_types::{SpiffeId, TrustDomain, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{TRUST_DOMAIN, World};

fn clock() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixTime::from_seconds(i64::try_from(since.as_secs()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_an_admin_entry_administers() {
    let world = World::start();
    let entry = world.register("/own/operator", &World::own_selectors());
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
    world.text(&["entry", "update", &entry, "--admin", "true"]);
    assert!(ask().await.starts_with("HTTP/1.1 200"));
}

#[test]
fn law_l10_no_session_is_offered_for_resumption() {
    let world = World::start();
    let session = world.path("session");
    let script = format!(
        "(sleep 1) | openssl s_client -connect {} -tls1_3 -alpn h2 -sess_out {} 2>&1 || true",
        world.address,
        session.display()
    );
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("TLSv1.3"), "{text}");
    assert!(!text.contains("New Session Ticket") && !session.exists(), "{text}");
}

#[test]
fn law_l16_what_weakens_safety_says_so_in_its_name() {
    let world = World::start();
    let sealed = std::fs::read(world.path("a/cache.sealed"));
    let sealed = sealed.unwrap_or_else(|_| {
        std::thread::sleep(std::time::Duration::from_secs(1));
        std::fs::read(world.path("a/cache.sealed")).unwrap()
    });
    assert!(sealed.starts_with(b"sekisho-sealed/1 insecure-key-file-0600\n"));
    let checks = world.sekisho(&["doctor"]).1;
    assert!(checks.contains("insecure-key-file-0600"), "{checks}");
}
