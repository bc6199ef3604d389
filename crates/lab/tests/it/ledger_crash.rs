//! `kill -9` at random points: no fork, no acknowledged leaf lost.

use std::time::Duration;

use sekisho_ledger::{Checkpoint, Note};

use crate::world::World;

/// Rounds of killing; `SEKISHO_KILLS` sets another number.
fn rounds() -> u64 {
    std::env::var("SEKISHO_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

fn checkpoint(world: &World) -> Checkpoint {
    let note = std::fs::read_to_string(world.path("s/ledger/checkpoint")).unwrap();
    Checkpoint::parse(Note::parse(&note).unwrap().text()).unwrap()
}

#[test]
fn kill_9_forks_nothing_and_loses_no_acknowledged_entry() {
    let mut world = World::start();
    let mut acknowledged: Vec<String> = vec![];
    for round in 0..rounds() {
        let pid = world.server.as_ref().unwrap().pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(40 + round * 37 % 200));
            std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        });
        for number in 0.. {
            let id = format!("spiffe://example.org/r{round}/n{number}");
            let (code, out, _) = world.sekisho(&[
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
            if code != 0 {
                break;
            }
            let entry: serde_json::Value = serde_json::from_str(&out).unwrap();
            acknowledged.push(entry["id"].as_str().unwrap().to_owned());
        }
        killer.join().unwrap();
        world.server.take().unwrap().kill();
        let before = checkpoint(&world);
        world.start_server();
        let after = checkpoint(&world);
        assert!(after.size >= before.size, "the log shrank");
    }
    let entries = world.json(&["entry", "list"]);
    let known: Vec<&str> = entries.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect();
    for id in &acknowledged {
        assert!(known.contains(&id.as_str()), "{id} was acknowledged and is gone");
    }
    let size = checkpoint(&world).size;
    let mut logged = String::new();
    for number in 0..size.div_ceil(256) {
        let path = sekisho_ledger::bundle_path(number, size).unwrap().path;
        logged.push_str(&String::from_utf8_lossy(&std::fs::read(world.path("s/ledger").join(path)).unwrap()));
    }
    for id in &acknowledged {
        assert!(logged.contains(id.as_str()), "{id} was acknowledged and is not in the log");
    }
}

#[test]
fn a_flipped_tile_and_a_rolled_back_checkpoint_are_noticed() {
    let mut world = World::start();
    let ledger = world.path("s/ledger");
    world.server.take().unwrap().kill();
    let good = std::fs::read(ledger.join("wal")).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(ledger.join("wal"), &flipped).unwrap();
    let refused = server_refuses(&world);
    assert!(refused.contains("damaged") || refused.contains("disagree"), "{refused}");
    // An older copy of the write-ahead file under a newer checkpoint.
    std::fs::write(ledger.join("wal"), &good[..16]).unwrap();
    let refused = server_refuses(&world);
    assert!(refused.contains("disagree"), "{refused}");
    std::fs::write(ledger.join("wal"), &good).unwrap();
    world.start_server();
}

fn server_refuses(world: &World) -> String {
    let output = std::process::Command::new(crate::world::program("sekisho"))
        .args(["server", "--trust-domain", "example.org", "--log", "error", "--listen", "127.0.0.1:0", "--data"])
        .arg(world.path("s"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
