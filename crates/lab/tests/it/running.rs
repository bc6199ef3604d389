//! What a server says of itself, and how it stops.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_keys::MemoryKey;
use sekisho_ledger::sha256_of;
use sekisho_types::{SignatureAlgorithm, Signer};

use crate::within::World;

#[tokio::test(start_paused = true)]
async fn metrics_say_what_the_server_did() {
    let world = World::start().await;
    let scrape = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let said = world.raw("s/api.sock", scrape).await;
    for line in [
        "sekisho_attestations_total{trust_domain=\"example.org\"} 1",
        "sekisho_agents{trust_domain=\"example.org\"} 1",
        "# TYPE sekisho_log_size_entries gauge",
        "sekisho_task_running{trust_domain=\"example.org\",task=\"outbox\"} 1",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

/// Open streams end with a status: neither waits for its clients, which look for it again.
#[tokio::test(start_paused = true)]
async fn server_and_agent_stop_with_open_streams() {
    let mut world = World::start().await;
    world.register("/own/stays", &World::own_selectors()).await;
    let trust_domain = sekisho_types::TrustDomain::parse("example.org").unwrap();
    let source = sekisho_sdk::IdentitySource::of_self(&world.agent_socket(), &trust_domain).unwrap();
    let held = source.ready().await;
    for role in [world.server.take(), world.agent.take()] {
        let began = tokio::time::Instant::now();
        role.unwrap().end().await;
        assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
    }
    assert_eq!(source.held.borrow().as_ref(), Some(&held), "an outage takes nothing away");
}

#[tokio::test(start_paused = true)]
async fn law_l13_a_remote_witness_needs_https() {
    let mut world = World::nowhere();
    let key = MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap();
    let public = &key.public_key_der()[12..];
    let id = sha256_of(&[b"w.example\n\x04", public].concat());
    let vkey = format!("w.example+{}+{}", hex::encode(&id[..4]), BASE64.encode([b"\x04", public].concat()));
    for (url, why) in [
        ("http://w.example/", "plain HTTP to another machine"),
        ("ftp://w.example/", "neither https nor http"),
        ("", "no witness in it has a URL"),
    ] {
        std::fs::write(world.path("w"), format!("witness w {vkey} {url}\nquorum w\n")).unwrap();
        world.server_options = vec!["--witnesses".into(), world.path("w").display().to_string()];
        let said = world.try_server().await.err().unwrap();
        assert!(said.contains(why), "{url}: {said}");
    }
}
