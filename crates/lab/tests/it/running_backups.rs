//! Copies that are made while the server issues, and copies that another user restores.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sekisho_ledger::TrustPolicy;

use crate::peers::Attested;
use crate::world::{World, copy_program};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_server_is_complete() {
    let mut world = World::start();
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/kept").await;
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
