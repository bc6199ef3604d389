//! Copies of a server and their way back: what was acknowledged stays, and a log never forks under one origin.

use sekisho_events::Receipt;
use sekisho_ledger::TrustPolicy;
use sekisho_proto::node::{StatusRequest, inspect_client::InspectClient};

use crate::ledger_crash::copy;
use crate::peers::Attested;
use crate::within::{World, eventually};

async fn backup(world: &World, to: &str) -> serde_json::Value {
    let data = world.path("s").display().to_string();
    world.json(&["backup", "--trust-domain", "example.org", "--data", &data, "--to", to]).await
}

/// The newest checkpoint on disk, and the line that trusts its key.
fn published(world: &World) -> (String, String) {
    let read = |name: &str| std::fs::read_to_string(world.path("s").join(name)).unwrap();
    let trust = read("trust-policy").lines().next().unwrap().to_owned();
    (read("ledger/checkpoint"), trust)
}

fn size(note: &str) -> u64 {
    note.lines().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_restore_keeps_a_newer_log() {
    let mut world = World::start().await;
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/kept").await;
    let (data, copy) = (world.path("s").display().to_string(), world.path("copy").display().to_string());
    backup(&world, &copy).await;
    let (_, index) = peer.issue(&entry).await.unwrap();
    world.text(&["prove", &index.to_string(), "--file", "./p", "--trust-policy", "./trust"]).await;
    world.stop_server().await;
    let before = published(&world);
    let restored = world.json(&["restore", "--trust-domain", "example.org", "--data", &data, "--from", &copy]).await;
    assert_eq!((&restored["log_kept"], restored["log_size"].as_u64()), (&true.into(), Some(size(&before.0))));
    world.start_server().await;
    let after = published(&world);
    assert_eq!(after.1, before.1, "the same log and key");
    // What was acknowledged after the copy is still there, and proves under the same policy.
    world.text(&["prove", &index.to_string(), "--file", "./again"]).await;
    let trust = TrustPolicy::parse(&std::fs::read_to_string(world.path("trust")).unwrap()).unwrap();
    for file in ["p", "again"] {
        let receipt = Receipt::parse(&std::fs::read_to_string(world.path(file)).unwrap()).unwrap();
        assert_eq!(receipt.verify(&trust).unwrap().index, index);
    }
}

/// The database's files; SQLite makes the third anew.
const DATABASE: [&str; 3] = ["s/state.db", "s/state.db-wal", "s/state.db-shm"];

type Files = Vec<(&'static str, Vec<u8>)>;

fn database(world: &World) -> Files {
    DATABASE.iter().take(2).filter_map(|name| Some((*name, std::fs::read(world.path(name)).ok()?))).collect()
}

/// The database, put back by hand.
fn put_back(world: &World, files: &Files) {
    for name in DATABASE {
        let _absent = std::fs::remove_file(world.path(name));
    }
    for (name, bytes) in files {
        std::fs::write(world.path(name), bytes).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_older_than_its_log_is_refused() {
    let mut world = World::start().await;
    let copy = world.path("copy").display().to_string();
    let kept = world.register("/own/kept", &World::own_selectors()).await;
    backup(&world, &copy).await;
    world.stop_server().await;
    let older = database(&world);
    world.start_server().await;
    world.text(&["entry", "delete", &kept]).await;
    world.stop_server().await;
    let newer = database(&world);
    let refused = async |world: &World| {
        let said = world.try_server().await.err().unwrap();
        assert!(said.contains("older than the log") && said.contains("sekisho restore"), "{said}");
        assert!(!said.contains("--danger"), "advice that loosens: {said}");
    };
    put_back(&world, &older);
    refused(&world).await;
    // None at all, as a start would make it, twice: nothing that the first start wrote counts.
    put_back(&world, &vec![]);
    refused(&world).await;
    refused(&world).await;
    put_back(&world, &newer);
    world.start_server().await;
    world.stop_server().await;
    // What the message says to do.
    put_back(&world, &older);
    let data = world.path("s").display().to_string();
    let restored = world.json(&["restore", "--trust-domain", "example.org", "--data", &data, "--from", &copy]).await;
    assert_eq!(restored["log_kept"], true);
    world.start_server().await;
    world.stop_server().await;
    // The operator's choice, which is in the log (law L16); what was issued meanwhile stays revocable.
    put_back(&world, &older);
    world.server_options.push("--danger-accept-older-state".into());
    world.start_server().await;
    let said = world
        .leaves("key-event")
        .await
        .into_iter()
        .find(|leaf| leaf["event"] == "danger: older state accepted")
        .unwrap();
    assert!(said["held_revision"].as_i64() < said["logged_revision"].as_i64(), "{said}");
    assert!(said["logged_revision"].as_i64() < said["state_revision"].as_i64(), "{said}");
    world.text(&["entry", "show", &kept]).await;
    world.stop_server().await;
    world.server_options.clear();
    world.start_server().await;
}

#[tokio::test(start_paused = true)]
async fn a_restored_snapshot_skips_revisions_that_agents_applied() {
    let mut world = World::start().await;
    let (data, snapshot) = (world.path("s"), world.path("snapshot"));
    let kept = world.register("/own/kept", &World::own_selectors()).await;
    world.stop_server().await;
    copy(&data, &snapshot);
    world.start_server().await;
    for number in 0..5 {
        world.register(&format!("/own/later-{number}"), &World::own_selectors()).await;
    }
    let mut agent = InspectClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let mut applied = 0;
    for _ in 0..200 {
        let status = agent.status(StatusRequest {}).await.unwrap().into_inner();
        if status.entries >= 6 {
            applied = status.revision;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(applied > 0, "the agent has applied them");
    world.stop_server().await;
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&snapshot, &data).unwrap();
    world.start_server().await;
    let event = "an agent has applied a later revision of the state";
    let jump = eventually("the agent is heard", async || {
        world.leaves("key-event").await.into_iter().find(|leaf| leaf["event"] == event)
    })
    .await;
    assert!(jump["held_revision"].as_u64().unwrap() < applied && jump["applied_revision"].as_u64().unwrap() >= applied);
    // A revocation concerns all that was issued at earlier revisions, the lost ones too (law L6).
    world.text(&["entry", "delete", &kept]).await;
    let deleted = eventually("the deletion is in the log", async || {
        let mut leaves = world.leaves("entry-change").await.into_iter();
        leaves.find(|leaf| leaf["entry"] == kept.as_str() && leaf["event"] == "deleted")
    })
    .await;
    assert!(deleted["state_revision"].as_u64().unwrap() > applied + (1 << 32));
    let again = world.leaves("key-event").await.into_iter().filter(|leaf| leaf["event"] == event).count();
    assert_eq!(again, 1);
}

#[tokio::test(start_paused = true)]
async fn no_copy_is_made_inside_the_data_folder() {
    let world = World::start().await;
    let data = world.path("s").display().to_string();
    std::os::unix::fs::symlink(world.path("s"), world.path("link")).unwrap();
    for to in ["s/in", "s/keys/in/deeper", "link/in", "s"] {
        let to = world.path(to).display().to_string();
        let refused = world.sekisho(&["backup", "--trust-domain", "example.org", "--data", &data, "--to", &to]).await;
        assert!(refused.0 == 1 && refused.2.contains("inside the data folder"), "{to}: {refused:?}");
    }
    assert!(!world.path("s/in").exists());
}

#[tokio::test(start_paused = true)]
async fn restores_within_one_second_keep_what_each_replaced() {
    let mut world = World::start().await;
    let (data, copy) = (world.path("s").display().to_string(), world.path("copy").display().to_string());
    backup(&world, &copy).await;
    world.stop_server().await;
    for _ in 0..3 {
        world.json(&["restore", "--trust-domain", "example.org", "--data", &data, "--from", &copy]).await;
    }
    let names = std::fs::read_dir(world.path("")).unwrap().map(|item| item.unwrap().file_name());
    let kept = names.filter(|name| name.to_string_lossy().starts_with("s.before-")).count();
    assert_eq!(kept, 3);
    world.start_server().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_trust_domain_leaves_no_keys() {
    let world = World::start().await;
    let (data, copy) = (world.path("s").display().to_string(), world.path("copy").display().to_string());
    let typo = world.sekisho(&["backup", "--trust-domain", "exmaple.org", "--data", &data, "--to", &copy]).await;
    assert_eq!(typo.0, 1, "{typo:?}");
    assert!(typo.2.contains("not of trust domain `exmaple.org`") && !typo.2.contains("tampered"), "{typo:?}");
    assert!(!world.path("copy").exists(), "a copy that was not made holds no keys");
    // One that cannot be made whole neither.
    std::fs::rename(world.path("s/keys"), world.path("keys")).unwrap();
    std::fs::create_dir(world.path("s/keys")).unwrap();
    std::fs::copy(world.path("keys/log.key"), world.path("s/keys/log.key")).unwrap();
    let failed = world.sekisho(&["backup", "--trust-domain", "example.org", "--data", &data, "--to", &copy]).await;
    assert!(failed.0 == 1 && !world.path("copy").exists(), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn no_server_starts_on_a_copy() {
    let mut world = World::start().await;
    let copy = world.path("copy").display().to_string();
    backup(&world, &copy).await;
    world.stop_server().await;
    std::fs::remove_dir_all(world.path("s")).unwrap();
    std::fs::rename(&copy, world.path("s")).unwrap();
    let said = world.try_server().await.err().unwrap();
    assert!(said.contains("sekisho restore") && said.contains("--from"), "{said}");
}
