//! Attacks on the authorities' keys: clocks that jump, key files that cannot be read.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faults::Shim;
use crate::peers::Attested;
use crate::world::{World, eventually};

fn events(world: &World, event: &str) -> Vec<Value> {
    world.leaves("key-event").into_iter().filter(|leaf| leaf["event"] == event).collect()
}

fn key_files(world: &World, folder: &str) -> Vec<PathBuf> {
    let found = std::fs::read_dir(world.path(folder)).into_iter().flatten();
    let files = found.map(|item| item.unwrap().path()).filter(|path| path.to_string_lossy().ends_with(".x509.key"));
    files.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_expired_authority_are_deleted_later() {
    let shim = Shim::new();
    let world = World::with_environment(&["--ca-ttl", "3600s"], shim.environment(), vec![]);
    let first = key_files(&world, "s/keys").remove(0);
    let name = first.file_name().unwrap().to_str().unwrap().to_owned();
    let parked = |world: &World| {
        key_files(world, "s/keys/parked").into_iter().find(|path| path.to_str().unwrap().ends_with(&name))
    };
    let mut hours = 0;
    let mut later = |more: i64| {
        hours += more;
        shim.run_on(hours * 3600, hours * 3600);
    };
    // As if it had run on all the while: the clock is believed.
    let path = eventually("the first authority's keys are parked", || {
        later(1);
        world.json(&["entry", "list"]);
        parked(&world)
    });
    assert!(!first.exists());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    later(24 * 6);
    world.json(&["entry", "list"]);
    assert!(path.exists(), "not yet");
    eventually("they are unlinked", || {
        later(5);
        world.json(&["entry", "list"]);
        parked(&world).is_none().then_some(())
    });
    assert!(!first.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_rotation_is_resumed_without_extra_authorities() {
    let shim = Shim::new();
    let world = World::with_environment(&[], shim.environment(), vec![]);
    let mode = |path: &PathBuf, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let active = key_files(&world, "s/keys").remove(0);
    mode(&active, 0o644);
    let minutes_later = |minutes: i64| {
        shim.run_on(minutes * 60, minutes * 60);
        world.wakes();
    };
    // Past half life the next authority is made; the active one's file does not matter for that.
    eventually("the next authority", || {
        minutes_later(13 * 60);
        (events(&world, "created").len() == 2).then_some(())
    });
    let prepared = key_files(&world, "s/keys").into_iter().find(|path| *path != active).unwrap();
    mode(&prepared, 0o644);
    // It cannot sign with a key that others may have read, however often it tries.
    for minutes in 0..40 {
        minutes_later(17 * 60 + minutes);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eventually("it says that it failed", || (!events(&world, "rotation failed").is_empty()).then_some(()));
    assert!(events(&world, "rotation failed").len() < 12, "it tries less and less often");
    assert_eq!(events(&world, "created").len(), 2);
    assert!(events(&world, "activated").is_empty());
    mode(&prepared, 0o600);
    let mut minutes = 20 * 60;
    eventually("it goes on", || {
        minutes += 1;
        minutes_later(minutes);
        (events(&world, "activated").len() == 1).then_some(())
    });
    assert_eq!(key_files(&world, "s/keys").len(), 2);
}

/// Law L5: a key signs when the log knows of it.
#[tokio::test(flavor = "multi_thread")]
async fn law_l5_key_events_are_logged_before_first_use() {
    let shim = Shim::new();
    let world = World::with_environment(&["--ca-ttl", "60s"], shim.environment(), vec![]);
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/rotated").await;
    // The next authority is made at half life, and signs after forty seconds. Then an fsync takes a while, and all ask.
    shim.run_on(32, 32);
    eventually("the next authority", || {
        world.wakes();
        (events(&world, "created").len() == 2).then_some(())
    });
    shim.run_on_with_slow_syncs(41, 60);
    let activated = |world: &World| !events(world, "activated").is_empty();
    let end = Instant::now() + Duration::from_secs(16);
    let mut rounds_after = 0;
    while Instant::now() < end && rounds_after < 10 {
        futures_util::future::join_all((0..8).map(|_| peer.issue(&entry))).await;
        rounds_after += u32::from(activated(&world));
    }
    shim.run_on(41, 41);
    let leaves = eventually("two authorities that sign", || {
        let leaves = world.all_leaves();
        let signers: BTreeSet<_> = leaves
            .iter()
            .filter(|leaf| leaf["kind"] == "issuance")
            .filter_map(|leaf| leaf["authority"].as_str())
            .collect();
        (signers.len() == 2).then_some(())?;
        Some(leaves)
    });
    let mut active = BTreeSet::new();
    for leaf in &leaves {
        let authority = leaf["authority"].as_str().map(str::to_owned);
        match leaf["kind"].as_str() {
            Some("key-event") if leaf["event"] == "activated" || leaf["slot"] == "active" => active.extend(authority),
            Some("issuance") if leaf["what"] == "x509-svid" => {
                assert!(authority.is_some_and(|signer| active.contains(&signer)), "{leaf} before {active:?}");
            }
            _ => {}
        }
    }
}
