//! Copies of a server and their way back: what was acknowledged stays, and a log never forks under one origin.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sekisho_events::Receipt;
use sekisho_ledger::TrustPolicy;
use sekisho_proto::node::{StatusRequest, inspect_client::InspectClient};

use crate::ledger_crash::{copy, server_refuses};
use crate::peers::Attested;
use crate::world::{World, copy_program, eventually};

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
    let first = world.json(&["verify", "first", "--trust-policy", "trust"]);
    let leaf = &first["leaf"];
    assert_eq!((&leaf["event"], leaf["old_size"].as_u64()), (&"log continued after a restore".into(), Some(copied)));
    assert_eq!(leaf["old_origin"].as_str(), lost.0.lines().next());
    // A proof of before stays good, by the policy of before.
    assert_eq!(world.json(&["verify", "before", "--trust-policy", "trust-before"])["verified"], true);
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

#[test]
fn a_database_older_than_its_log_is_refused() {
    let mut world = World::start();
    let copy = world.path("copy").display().to_string();
    let kept = world.register("/own/kept", &World::own_selectors());
    backup(&world, &copy);
    drop(world.server.take());
    let older = database(&world);
    world.start_server();
    world.text(&["entry", "delete", &kept]);
    drop(world.server.take());
    let newer = database(&world);
    let refused = |world: &World| {
        let said = server_refuses(world);
        assert!(said.contains("older than the log") && said.contains("sekisho restore"), "{said}");
        assert!(!said.contains("--danger"), "advice that loosens: {said}");
    };
    put_back(&world, &older);
    refused(&world);
    // None at all, as a start would make it, twice: nothing that the first start wrote counts.
    put_back(&world, &vec![]);
    refused(&world);
    refused(&world);
    put_back(&world, &newer);
    world.start_server();
    drop(world.server.take());
    // What the message says to do.
    put_back(&world, &older);
    let data = world.path("s").display().to_string();
    let restored = world.json(&["restore", "--trust-domain", "example.org", "--data", &data, "--from", &copy]);
    assert_eq!(restored["log_kept"], true);
    world.start_server();
    drop(world.server.take());
    // The operator's choice, which is in the log (law L16); what was issued meanwhile stays revocable.
    put_back(&world, &older);
    world.server_options.push("--danger-accept-older-state".into());
    world.start_server();
    let said =
        world.leaves("key-event").into_iter().find(|leaf| leaf["event"] == "danger: older state accepted").unwrap();
    assert!(said["held_revision"].as_i64() < said["logged_revision"].as_i64(), "{said}");
    assert!(said["logged_revision"].as_i64() < said["state_revision"].as_i64(), "{said}");
    world.text(&["entry", "show", &kept]);
    drop(world.server.take());
    world.server_options.clear();
    world.start_server();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_from_a_snapshot_goes_on_beyond_what_agents_have_applied() {
    let mut world = World::start();
    let (data, snapshot) = (world.path("s"), world.path("snapshot"));
    let kept = world.register("/own/kept", &World::own_selectors());
    drop(world.server.take());
    copy(&data, &snapshot);
    world.start_server();
    for number in 0..5 {
        world.register(&format!("/own/later-{number}"), &World::own_selectors());
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
    drop(world.server.take());
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&snapshot, &data).unwrap();
    world.start_server();
    let event = "an agent has applied a later revision of the state";
    let jump =
        eventually("the agent is heard", || world.leaves("key-event").into_iter().find(|leaf| leaf["event"] == event));
    assert!(jump["held_revision"].as_u64().unwrap() < applied && jump["applied_revision"].as_u64().unwrap() >= applied);
    // A revocation concerns all that was issued at earlier revisions, the lost ones too (law L6).
    world.text(&["entry", "delete", &kept]);
    let deleted = eventually("the deletion is in the log", || {
        let mut leaves = world.leaves("entry-change").into_iter();
        leaves.find(|leaf| leaf["entry"] == kept.as_str() && leaf["event"] == "deleted")
    });
    assert!(deleted["state_revision"].as_u64().unwrap() > applied + (1 << 32));
    let again = world.leaves("key-event").into_iter().filter(|leaf| leaf["event"] == event).count();
    assert_eq!(again, 1);
}

/// Names, sizes and times of change of all that is below a folder.
fn contents(folder: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    let mut found = vec![];
    for path in std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()) {
        let meta = std::fs::metadata(&path).unwrap();
        found.push((path.clone(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        if path.is_dir() {
            found.extend(contents(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn a_copy_is_only_read_by_a_restore() {
    let mut world = World::start();
    let kept = world.register("/own/kept", &World::own_selectors());
    let (copy, user) = (world.path("copy"), if sekisho_host::own_uid() == 0 { 1234 } else { 0 });
    backup(&world, copy.to_str().unwrap());
    drop(world.server.take());
    let before = contents(&copy);
    let (target, folder) = (world.path("user/s"), world.path("user"));
    std::fs::create_dir(&folder).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        assert!(std::process::Command::new(program).args(arguments).status().unwrap().success(), "{program}");
    };
    run("chmod", &["-R", "a-w", copy.to_str().unwrap()]);
    let program = world.path("sekisho");
    copy_program(&crate::world::program("sekisho"), &program);
    let mut command = std::process::Command::new(&program);
    if user != 0 {
        // For root, modes are no obstacle.
        run("chmod", &["a+rx", world.folder.path().to_str().unwrap()]);
        for path in [&copy, &folder] {
            run("chown", &["-R", "1234:1234", path.to_str().unwrap()]);
        }
        command = std::process::Command::new("setpriv");
        command.args(["--reuid", "1234", "--regid", "1234", "--clear-groups"]).arg(&program);
    }
    command.args(["restore", "--trust-domain", "example.org", "--data"]).arg(&target).arg("--from").arg(&copy);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(contents(&copy), before);
    std::fs::remove_dir_all(world.path("s")).unwrap();
    std::fs::rename(&target, world.path("s")).unwrap();
    if user != 0 {
        run("chown", &["-R", "0:0", world.path("s").to_str().unwrap()]);
    }
    run("chmod", &["-R", "u+w", copy.to_str().unwrap()]);
    world.start_server();
    world.text(&["entry", "show", &kept]);
}

#[test]
fn no_copy_is_made_inside_the_data_folder() {
    let world = World::start();
    let data = world.path("s").display().to_string();
    std::os::unix::fs::symlink(world.path("s"), world.path("link")).unwrap();
    for to in ["s/in", "s/keys/in/deeper", "link/in", "s"] {
        let to = world.path(to).display().to_string();
        let refused = world.sekisho(&["backup", "--trust-domain", "example.org", "--data", &data, "--to", &to]);
        assert!(refused.0 == 1 && refused.2.contains("inside the data folder"), "{to}: {refused:?}");
    }
    assert!(!world.path("s/in").exists());
}

#[test]
fn restores_within_one_second_keep_what_each_replaced() {
    let mut world = World::start();
    let (data, copy) = (world.path("s").display().to_string(), world.path("copy").display().to_string());
    backup(&world, &copy);
    drop(world.server.take());
    for _ in 0..3 {
        world.json(&["restore", "--trust-domain", "example.org", "--data", &data, "--from", &copy]);
    }
    let names = std::fs::read_dir(world.folder.path()).unwrap().map(|item| item.unwrap().file_name());
    let kept = names.filter(|name| name.to_string_lossy().starts_with("s.before-")).count();
    assert_eq!(kept, 3);
    world.start_server();
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
