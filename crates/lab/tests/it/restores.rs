//! Copies of a server and their way back: what was acknowledged stays, and a log never forks under one origin.

use std::collections::BTreeMap;

use sekisho_ledger::{Receipt, TrustPolicy};

use crate::peers::Attested;
use crate::world::World;

fn backup(world: &World, to: &str) -> serde_json::Value {
    let data = world.path("s").display().to_string();
    world.json(&["backup", "--trust-domain", "example.org", "--data", &data, "--to", to])
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

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_server_is_whole_and_the_lost_log_goes_on_under_another_origin() {
    let mut world = World::start();
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/kept");
    let (serial, index) = peer.issue(&entry).await.unwrap();
    world.text(&["prove", &index.to_string(), "--file", "before", "--trust-policy", "trust-before"]);
    let open = world.json(&["token", "create"]);
    let (data, copy) = (world.path("s").display().to_string(), world.path("copy").display().to_string());
    // While it issues.
    let busy = async {
        for _ in 0..50 {
            peer.issue(&entry).await.unwrap();
        }
    };
    let (made, ()) = tokio::join!(async { backup(&world, &copy) }, busy);
    let copied = made["log_size"].as_u64().unwrap();
    assert!(copied > index);
    let again = world.sekisho(&["backup", "--trust-domain", "example.org", "--data", &data, "--to", &copy]);
    assert!(again.0 == 1 && again.2.contains("not empty"), "{again:?}");
    let restore = ["restore", "--trust-domain", "example.org", "--data", &data, "--from", &copy];
    let running = world.sekisho(&restore);
    assert!(running.0 == 1 && running.2.contains("in use"), "{running:?}");
    for _ in 0..5 {
        peer.issue(&entry).await.unwrap();
    }
    drop(world.server.take());
    let lost = published(&world);
    // The worst: all of it is gone.
    std::fs::remove_dir_all(&data).unwrap();
    let restored = world.json(&restore);
    assert!(restored["log_kept"] == false && restored["log_size"] == copied, "{restored}");
    world.start_server();
    world.text(&["entry", "show", &entry]);
    assert!(world.leaves("issuance").iter().any(|leaf| leaf["id"] == format!("iss_{serial}")));
    let spent = crate::peers::attest(&world, "join_token", open["token"].as_str().unwrap().as_bytes()).await;
    assert!(spent.is_err(), "a token that was open in the copy is void");
    // Under both policies together, no two checkpoints of one origin and size differ.
    let mut seen = vec![lost.clone(), published(&world)];
    while size(&seen.last().unwrap().0) <= size(&lost.0) {
        peer.issue(&entry).await.unwrap();
        seen.push(published(&world));
    }
    let logs: std::collections::BTreeSet<&str> = seen.iter().map(|(_, trust)| trust.as_str()).collect();
    let logs: Vec<&str> = logs.into_iter().collect();
    let policy = TrustPolicy::parse(&format!("{}\nquorum none\n", logs.join("\n"))).unwrap();
    let mut roots = BTreeMap::new();
    for (note, _) in &seen {
        let checkpoint = policy.verify(note).unwrap();
        let before = roots.insert((checkpoint.origin.clone(), checkpoint.size), checkpoint.root);
        assert!(before.is_none_or(|root| root == checkpoint.root), "{checkpoint}");
    }
    // The first leaf after the copy says what came before.
    world.text(&["prove", &copied.to_string(), "--file", "first", "--trust-policy", "trust"]);
    let first = world.json(&["verify", "first", "--policy", "trust"]);
    let leaf = &first["leaf"];
    assert_eq!((&leaf["event"], leaf["old_size"].as_u64()), (&"log continued after a restore".into(), Some(copied)));
    assert_eq!(leaf["old_origin"].as_str(), lost.0.lines().next());
    // A proof of before stays good, by the policy of before.
    assert_eq!(world.json(&["verify", "before", "--policy", "trust-before"])["verified"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_beside_a_newer_log_keeps_that_log() {
    let mut world = World::start();
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/kept");
    let (data, copy) = (world.path("s").display().to_string(), world.path("copy").display().to_string());
    backup(&world, &copy);
    let (_, index) = peer.issue(&entry).await.unwrap();
    world.text(&["prove", &index.to_string(), "--file", "p", "--trust-policy", "trust"]);
    drop(world.server.take());
    let before = published(&world);
    let restored = world.json(&["restore", "--trust-domain", "example.org", "--data", &data, "--from", &copy]);
    assert_eq!((&restored["log_kept"], restored["log_size"].as_u64()), (&true.into(), Some(size(&before.0))));
    world.start_server();
    let after = published(&world);
    assert_eq!(after.1, before.1, "the same log and key");
    // What was acknowledged after the copy is still there, and proves under the same policy.
    world.text(&["prove", &index.to_string(), "--file", "again"]);
    let trust = TrustPolicy::parse(&std::fs::read_to_string(world.path("trust")).unwrap()).unwrap();
    for file in ["p", "again"] {
        let receipt = Receipt::parse(&std::fs::read_to_string(world.path(file)).unwrap()).unwrap();
        assert_eq!(receipt.verify(&trust).unwrap().index, index);
    }
}

#[test]
fn a_wrong_trust_domain_is_named_and_leaves_no_keys_behind() {
    let world = World::start();
    let (data, copy) = (world.path("s").display().to_string(), world.path("copy").display().to_string());
    let typo = world.sekisho(&["backup", "--trust-domain", "exmaple.org", "--data", &data, "--to", &copy]);
    assert_eq!(typo.0, 1, "{typo:?}");
    assert!(typo.2.contains("not of trust domain `exmaple.org`") && !typo.2.contains("tampered"), "{typo:?}");
    assert!(!world.path("copy").exists(), "a copy that was not made holds no keys");
    // One that cannot be made whole neither.
    std::fs::rename(world.path("s/keys"), world.path("keys")).unwrap();
    std::fs::create_dir(world.path("s/keys")).unwrap();
    std::fs::copy(world.path("keys/log.key"), world.path("s/keys/log.key")).unwrap();
    let failed = world.sekisho(&["backup", "--trust-domain", "example.org", "--data", &data, "--to", &copy]);
    assert!(failed.0 == 1 && !world.path("copy").exists(), "{failed:?}");
}

#[test]
fn no_server_starts_on_a_copy() {
    let mut world = World::start();
    let copy = world.path("copy").display().to_string();
    backup(&world, &copy);
    drop(world.server.take());
    let start = ["server", "--trust-domain", "example.org", "--listen", "127.0.0.1:0", "--data", &copy];
    let output = std::process::Command::new(crate::world::program("sekisho")).args(start).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("sekisho restore") && said.contains("--from"), "{said}");
}
