//! The state of releases before this one: it opens, what was proved stays proved, and the server goes on.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use sekisho_events::Receipt;
use sekisho_ledger::TrustPolicy;

use crate::peers::clock;
use crate::within::{World, eventually};
use crate::world::manifest_folder;

/// When the server that wrote the fixture stopped, in Unix seconds.
const STOPPED: i64 = 1_795_624_492;

/// Of a SQLite file: `user_version` is four bytes at offset 60 (sqlite.org/fileformat2.html, "The Database Header").
fn schema(file: &std::path::Path) -> u32 {
    let bytes = std::fs::read(file).unwrap();
    u32::from_be_bytes(bytes[60..64].try_into().unwrap())
}

fn copies(world: &World) -> Vec<PathBuf> {
    let items = std::fs::read_dir(world.path("s")).unwrap().map(|item| item.unwrap().path());
    items.filter(|path| path.display().to_string().contains("state.db.schema-")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_schema_3_is_migrated() {
    opens(3, async |_| ()).await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_schema_4_is_migrated() {
    opens(4, async |world| {
        let revocations = world.json(&["revocation", "list"]).await;
        assert!(revocations.to_string().contains("spiffe://example.org/shop/gone"), "{revocations}");
    })
    .await;
}

/// Puts the fixture of this schema where the world's server looks.
fn unpack(world: &World, version: u32) {
    let fixture = manifest_folder().join(format!("tests/it/fixtures/state-v{version}/state.tar.gz"));
    let unpacked = Command::new("tar").arg("-xpzf").arg(fixture).arg("-C").arg(world.path("")).status().unwrap();
    assert!(unpacked.success());
}

/// Opens the fixture of this schema, and goes on from it.
async fn opens(version: u32, as_it_was: impl AsyncFnOnce(&World)) {
    let mut world = World::nowhere();
    // Some minutes after its server stopped, whatever the time is now.
    world.jump(STOPPED + 300 - clock().seconds());
    unpack(&world, version);
    world.start_server().await;

    let [copy] = copies(&world).try_into().unwrap();
    assert_eq!(schema(&copy), version);
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let entries = world.json(&["entry", "list"]).await;
    let shop = |name: &str| {
        entries.as_array().unwrap().iter().any(|e| e["spiffe_id"] == format!("spiffe://example.org/shop/{name}"))
    };
    assert!(shop("ledger") && shop("till") && !shop("gone"), "{entries}");
    assert_eq!(world.json(&["agents", "list"]).await.as_array().unwrap().len(), 1);
    assert!(world.json(&["policy", "show"]).await["revision"].as_u64().unwrap() >= 2);

    as_it_was(&world).await;

    // What that release proved verifies, and this one proves the same under the same trust policy.
    let trust = TrustPolicy::parse(&std::fs::read_to_string(world.path("proofs/trust")).unwrap()).unwrap();
    let verified = |file: &str| {
        let text = std::fs::read_to_string(world.path(file)).unwrap();
        Receipt::parse(&text).and_then(|receipt| receipt.verify(&trust)).unwrap()
    };
    for name in ["attestation", "issuance", "first"] {
        let old = verified(&format!("proofs/{name}"));
        world.text(&["prove", &old.index.to_string(), "--file", "./again"]).await;
        let again = verified("again");
        assert_eq!((again.leaf, again.subject), (old.leaf, old.subject), "{name}");
    }
    let denied =
        world.json(&["verify", "./proofs/decision", "--trust-policy", "./proofs/trust"]).await["record"].clone();
    world.text(&["prove", denied["id"].as_str().unwrap(), "--file", "./again"]).await;
    assert_eq!(world.json(&["verify", "./again", "--trust-policy", "./proofs/trust"]).await["record"], denied);
    assert_eq!(world.json(&["decisions"]).await.as_array().unwrap().len(), 3);

    // It goes on: an agent attests, an entry is made, and the log that was is the beginning of the log that is.
    let before = world.leaves("attestation").await.len();
    world.start_agent().await;
    eventually("the attestation is in the log", async || {
        (world.leaves("attestation").await.len() > before).then_some(())
    })
    .await;
    world.register("/own/new", &World::own_selectors()).await;
    world.stop_agent().await;
    world.stop_server().await;
    world.start_server().await;
    assert_eq!(copies(&world), [copy], "a database of this release is not copied");
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_a_newer_release_is_refused() {
    let world = World::nowhere();
    unpack(&world, 4);
    let file = world.path("s/state.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[60..64].copy_from_slice(&77u32.to_be_bytes());
    std::fs::write(&file, &bytes).unwrap();
    let said = world.try_server().await.err().unwrap();
    assert!(said.contains("schema 77"), "{said}");
    assert_eq!((std::fs::read(&file).unwrap(), copies(&world).len()), (bytes, 0));
}
