//! Clocks that jump, and what becomes of authorities.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::peers::Attested;
use crate::within::{World, eventually};

async fn events(world: &World, event: &str) -> Vec<Value> {
    world.leaves("key-event").await.into_iter().filter(|leaf| leaf["event"] == event).collect()
}

/// The authority that signed what has its leaf at `index`.
async fn signer(world: &World, index: u64) -> String {
    eventually("the leaf of an issuance", async || {
        let leaves = world.all_leaves().await;
        leaves.get(usize::try_from(index).unwrap())?["authority"].as_str().map(str::to_owned)
    })
    .await
}

fn key_files(world: &World, folder: &str) -> Vec<PathBuf> {
    let found = std::fs::read_dir(world.path(folder)).into_iter().flatten();
    let files = found.map(|item| item.unwrap().path()).filter(|path| path.to_string_lossy().ends_with(".x509.key"));
    files.collect()
}

#[tokio::test(start_paused = true)]
async fn a_clock_28_hours_ahead_removes_no_authority() {
    let mut world = World::start().await;
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/clock").await;
    let (_, index) = peer.issue(&entry).await.unwrap();
    let (first, keys) = (signer(&world, index).await, key_files(&world, "s/keys"));
    assert_eq!(keys.len(), 1);
    let key = std::fs::read(&keys[0]).unwrap();
    world.stop_server().await;
    world.jump(28 * 3600);
    world.start_server().await;
    // It serves, in case that the clock is right, and says what it holds of it.
    world.json(&["entry", "list"]).await;
    let said = world.server.as_ref().unwrap().logged();
    assert!(said.contains("the clock is ahead of the last time"), "{said}");
    eventually("the log says so", async || (!events(&world, "clock ahead of belief").await.is_empty()).then_some(()))
        .await;
    let metrics =
        world.raw("s/api.sock", "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    let gauge = metrics
        .lines()
        .find_map(|line| line.strip_prefix("sekisho_clock_ahead_seconds{trust_domain=\"example.org\"} "))
        .unwrap();
    assert!((27 * 3600..=29 * 3600).contains(&gauge.trim().parse::<i64>().unwrap()), "{gauge}");
    let doctor = world.sekisho(&["doctor"]).await.1;
    assert!(doctor.contains("believed-clock") && doctor.contains("jumped"), "{doctor}");
    world.stop_server().await;
    world.jump(-28 * 3600);
    world.start_server().await;
    assert_eq!(std::fs::read(&keys[0]).unwrap(), key);
    assert!(key_files(&world, "s/keys/parked").is_empty(), "nothing is even parked");
    let (_, index) = peer.issue(&entry).await.unwrap();
    assert_eq!(signer(&world, index).await, first, "the same authority signs");
    assert!(world.sekisho(&["doctor"]).await.1.contains("as the clock shows it"));
}

/// A plan that was made by a clock that was behind waits for hours that have passed.
#[tokio::test(start_paused = true)]
async fn a_corrected_clock_is_used_within_a_minute() {
    let world = World::start().await;
    assert_eq!(events(&world, "created").await.len(), 1);
    // The clock turns out to have been 13 hours behind, and the machine runs on for less than a minute.
    world.jump(13 * 3600);
    tokio::time::sleep(Duration::from_secs(50)).await;
    eventually("the next authority", async || (events(&world, "created").await.len() == 2).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_valid_authority_is_not_ready() {
    let world = World::start().await;
    let readiness = async || {
        let ask = "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        world.raw("s/api.sock", ask).await
    };
    eventually("it is ready", async || readiness().await.starts_with("HTTP/1.1 200").then_some(())).await;
    // The clock goes back, and a look of the health check follows.
    world.jump(-2 * 24 * 3600);
    eventually("it is not ready", async || {
        let said = readiness().await;
        (said.starts_with("HTTP/1.1 503") && said.contains("\"authority\"")).then_some(())
    })
    .await;
    world.jump(2 * 24 * 3600);
    eventually("it is ready again", async || readiness().await.starts_with("HTTP/1.1 200").then_some(())).await;
}
