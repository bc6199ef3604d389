//! `kill -9` at random points of a running system: no fork, no acknowledged leaf lost, no token spent twice.

use std::path::Path;
use std::time::Duration;

use sekisho_ledger::{Bundle, Checkpoint, Frontier, Hash, Note, tile_path};

use crate::faults::{changes, create_at_once};
use crate::peers::{Attested, attest};
use crate::world::World;

/// Rounds of killing; `SEKISHO_KILLS` sets another number. The simulator kills some hundreds of servers more, and takes
/// their power away too (`tests/simulator.rs`); here processes, signals and the kernel's files are real.
fn rounds() -> u64 {
    std::env::var("SEKISHO_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

fn checkpoint(ledger: &Path) -> Checkpoint {
    let note = std::fs::read_to_string(ledger.join("checkpoint")).unwrap();
    Checkpoint::parse(Note::parse(&note).unwrap().text()).unwrap()
}

/// The root that the stored log had at `size`, computed from its tiles.
fn root_at(ledger: &Path, size: u64, stored: u64) -> Hash {
    let read = |level: u8, number: u64, of: u64| std::fs::read(ledger.join(tile_path(level, number, of)?.path)).ok();
    let tile = |level: u8, number: u64| {
        read(level, number, stored).or_else(|| read(level, number, size)).or_else(|| read(level, number, u64::MAX))
    };
    Frontier::restore(size, |level, index| Bundle::stored_hash(level, index, tile)).unwrap().root()
}

/// What was acknowledged before a kill.
#[derive(Default)]
struct Acknowledged {
    entries: Vec<String>,
    /// Serial numbers and where the issuance stands in the log.
    issued: Vec<(String, u64)>,
    spent: Vec<String>,
}

/// Works against the server until it is gone.
async fn work(world: &World, peer: &Attested, entry: &str, round: u64, done: &mut Acknowledged) {
    for number in 0.. {
        let id = format!("spiffe://example.org/r{round}/n{number}");
        let created = world.sekisho(&[
            "entry",
            "create",
            "--spiffe-id",
            &id,
            "--parent-id",
            &world.agent_id,
            "--selector",
            "unix:uid:1",
            "-o",
            "json",
        ]);
        if created.0 != 0 {
            return;
        }
        let created: serde_json::Value = serde_json::from_str(&created.1).unwrap();
        done.entries.push(created["id"].as_str().unwrap().to_owned());
        match peer.issue(entry).await {
            Ok((serial, index)) => done.issued.push((serial, index)),
            Err(_) => return,
        }
        let (code, out, _) = world.sekisho(&["token", "create", "-o", "json"]);
        let Ok(made) = serde_json::from_str::<serde_json::Value>(&out) else { return };
        let token = made["token"].as_str().unwrap().to_owned();
        if code != 0 || attest(world, "join_token", token.as_bytes()).await.is_err() {
            return;
        }
        done.spent.push(token);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_and_repeats_nothing() {
    let mut world = World::start();
    let ledger = world.path("s/ledger");
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/killed").await;
    let mut done = Acknowledged::default();
    for round in 0..rounds() {
        let agent = round % 5 == 4;
        let victim = if agent { &world.agent } else { &world.server }.as_ref().unwrap().pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(10 + round * 73 % 180));
            std::process::Command::new("kill").args(["-9", &victim.to_string()]).status().unwrap();
        });
        if agent {
            killer.join().unwrap();
            world.agent.take().unwrap().kill();
            // Without a new token: what it had is on disk.
            world.start_agent();
            continue;
        }
        work(&world, &peer, &entry, round, &mut done).await;
        killer.join().unwrap();
        world.server.take().unwrap().kill();
        let before = checkpoint(&ledger);
        world.start_server();
        let after = checkpoint(&ledger);
        assert!(after.size >= before.size, "the log shrank");
        assert_eq!(root_at(&ledger, before.size, after.size), before.root, "the log forked");
    }
    assert!(!done.entries.is_empty() && !done.issued.is_empty() && !done.spent.is_empty());
    check(&world, &ledger, &done).await;
}

/// The server dies right after its answer: the leaf may be in the log while its row of the outbox is still there.
#[test]
fn law_l5_after_kill_9_a_change_has_one_leaf() {
    let mut world = World::start();
    let mut created = vec![];
    for round in 0..12u64 {
        let name = format!("once{round}");
        let pid = world.server.as_ref().unwrap().pid();
        assert!(create_at_once(&world, &name));
        std::thread::sleep(Duration::from_millis(round % 4));
        std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        world.server.take().unwrap().kill();
        world.start_server();
        created.push(name);
        assert_eq!(changes(&world, &created), vec![1; created.len()], "round {round}");
    }
}

async fn check(world: &World, ledger: &Path, done: &Acknowledged) {
    let entries = world.json(&["entry", "list"]);
    let known: Vec<&str> = entries.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect();
    let size = checkpoint(ledger).size;
    let mut leaves: Vec<String> = vec![];
    for number in 0..size.div_ceil(256) {
        let bytes = std::fs::read(ledger.join(sekisho_ledger::bundle_path(number, size).unwrap().path)).unwrap();
        leaves.extend(
            Bundle::entries(&bytes).unwrap().into_iter().map(|leaf| String::from_utf8_lossy(leaf).into_owned()),
        );
    }
    for id in &done.entries {
        assert!(known.contains(&id.as_str()), "entry {id} was acknowledged and is gone");
        assert!(leaves.iter().any(|leaf| leaf.contains(id)), "entry {id} was acknowledged and is not in the log");
    }
    for (serial, index) in &done.issued {
        let leaf = &leaves[usize::try_from(*index).unwrap()];
        assert!(leaf.contains(&format!("iss_{serial}")), "the issuance of {serial} is not at {index}: {leaf}");
    }
    for token in done.spent.iter().rev().take(10) {
        let again = attest(world, "join_token", token.as_bytes()).await;
        assert_eq!(
            again.err().map(|status| status.code()),
            Some(tonic::Code::InvalidArgument),
            "a token was spent twice"
        );
    }
}

pub fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_damaged_or_older_log_is_noticed() {
    let mut world = World::start();
    let ledger = world.path("s/ledger");
    // A stop that is not a crash, so that the database remembers how far the log is.
    drop(world.server.take());
    let old = world.path("old");
    copy(&ledger, &old);
    world.start_server();
    world.register("/own/newer", &World::own_selectors());
    drop(world.server.take());
    let good = world.path("good");
    copy(&ledger, &good);
    let refused = |damage: &dyn Fn(), sign: &str| {
        damage();
        let said = server_refuses(&world);
        assert!(said.contains(sign), "wanted {sign:?}: {said}");
        assert!(!said.contains("--danger"), "advice that loosens: {said}");
        std::fs::remove_dir_all(&ledger).unwrap();
        copy(&good, &ledger);
    };
    let flip = |name: &str, at: usize| {
        let mut bytes = std::fs::read(ledger.join(name)).unwrap();
        bytes[at] ^= 1;
        std::fs::write(ledger.join(name), bytes).unwrap();
    };
    refused(&|| flip("wal", 40), "damaged");
    refused(&|| flip("checkpoint", 3), "disagree");
    let wal = std::fs::read(ledger.join("wal")).unwrap();
    refused(&|| std::fs::write(ledger.join("wal"), &wal[..16]).unwrap(), "disagree");
    refused(&|| std::fs::remove_file(ledger.join("wal")).unwrap(), "disagree");
    let both = || {
        std::fs::remove_file(ledger.join("wal")).unwrap();
        std::fs::remove_file(ledger.join("checkpoint")).unwrap();
    };
    refused(&both, "disagree");
    refused(&|| std::fs::remove_dir_all(&ledger).unwrap(), "an older copy of it was restored");
    let older = || {
        std::fs::remove_dir_all(&ledger).unwrap();
        copy(&old, &ledger);
    };
    refused(&older, "an older copy of it was restored");
    // Accepted all the same, it is in the log that it was (law L16).
    older();
    world.server_options.push("--danger-accept-older-log".into());
    world.start_server();
    drop(world.server.take());
    let leaves = world.leaves("key-event");
    let said = leaves.iter().find(|leaf| leaf["event"] == "danger: older log accepted").unwrap();
    let origin = |folder: &Path| {
        let note = std::fs::read_to_string(folder.join("checkpoint")).unwrap();
        note.lines().next().unwrap().to_owned()
    };
    assert_eq!(said["old_origin"], origin(&good).as_str());
    assert_ne!(origin(&ledger), origin(&good), "it goes on under an origin of its own");
    world.server_options.clear();
    world.start_server();
}

fn server_refuses(world: &World) -> String {
    let mut child = std::process::Command::new(crate::world::program("sekisho"))
        .args(["server", "--trust-domain", "example.org", "--log", "error", "--listen", "127.0.0.1:0", "--data"])
        .arg(world.path("s"))
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() {
        if std::time::Instant::now() > end {
            child.kill().unwrap();
            panic!("the server started on a log that it should refuse");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
