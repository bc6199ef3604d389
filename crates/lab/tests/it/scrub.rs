//! Damage of the log on disk: found by a running server, by `ledger fsck`, and named.

use sekisho_proto::spire::entry::v1::{BatchCreateEntryRequest, entry_client::EntryClient};
use sekisho_proto::types;

use crate::within::{TRUST_DOMAIN, World, eventually};

fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_running_server_finds_flipped_bits() {
    let world = World::with(&["--scrub-bundles-per-second", "10000"]).await;
    let data = world.path("s").display().to_string();
    // More than a bundle: its tile is old then.
    let id = |path: String| Some(types::Spiffeid { trust_domain: TRUST_DOMAIN.into(), path });
    let entry = |n: u32| types::Entry {
        spiffe_id: id(format!("/old/e{n}")),
        parent_id: id("/old/node".into()),
        selectors: vec![types::Selector { r#type: "unix".into(), value: format!("uid:{n}") }],
        ..Default::default()
    };
    let request = BatchCreateEntryRequest { entries: (0..300).map(entry).collect(), output_mask: None };
    let mut registry = EntryClient::new(sekisho_net::grpc_over_unix(world.path("s/api.sock")));
    registry.batch_create_entry(request).await.unwrap();
    eventually("a full bundle", async || world.path("s/ledger/side/000").exists().then_some(())).await;
    let fsck = async || world.sekisho(&["ledger", "fsck", "--data", &data]).await;
    let (code, out, error) = fsck().await;
    assert!(code == 0 && out.contains("no damage") && error.contains("bundles"), "{code}: {out}{error}");
    let log_check = async || {
        let checks: serde_json::Value =
            serde_json::from_str(&world.sekisho(&["doctor", "-o", "json"]).await.1).unwrap();
        checks.as_array().unwrap().iter().find(|check| check["id"] == "log").unwrap().clone()
    };
    assert_eq!(log_check().await["ok"], true);
    let bundle = world.path("s/ledger/tile/entries/000");
    flip(&bundle, 700);
    let found =
        eventually("a running server finds it", async || Some(log_check().await).filter(|check| check["ok"] == false))
            .await;
    assert!(found["found"].as_str().unwrap().contains("tile/entries/000"), "{found}");
    let said = eventually("and its log says so", async || {
        let said = world.server.as_ref().unwrap().logged();
        said.contains("the log is damaged on disk").then_some(said)
    })
    .await;
    assert!(said.contains("tile/entries/000"), "{said}");
    let report = world.json(&["ledger", "fsck", "--data", &data]).await;
    let damage = report["damage"].as_array().unwrap();
    assert!(damage[0]["file"].as_str().unwrap().ends_with("s/ledger/tile/entries/000"), "{damage:?}");
    // If the bit is of a commitment, its opening is named too.
    for damage in damage {
        let entries = (damage["first_entry"].as_u64().unwrap(), damage["last_entry"].as_u64().unwrap());
        assert!(entries.0 == entries.1 && entries.0 < 10, "{damage:?}");
    }
    assert_eq!(fsck().await.0, 2);
    flip(&bundle, 700);
    assert_eq!(fsck().await.0, 0);
    // An opening that says something else than the entry commits to.
    let side = world.path("s/ledger/side/000");
    let at = std::fs::read(&side).unwrap().windows(11).position(|window| window == b"example.org").unwrap();
    flip(&side, at);
    let (code, out, _) = fsck().await;
    assert!(code == 2 && out.contains("side/000: it does not open what the entry commits to"), "{code}: {out}");
}
