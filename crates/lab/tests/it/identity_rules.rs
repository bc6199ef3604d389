//! What an entry asks of a process, and how long what it gives lives.

use sekisho_identity::{leaf_facts, split_chain};
use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use sekisho_sdk::agent_channel;
use sekisho_types::ClaimValue;

use crate::within::{World, eventually};

#[tokio::test(start_paused = true)]
async fn a_stream_rotates_and_ends_with_its_entry() {
    let world = World::with(&["--x509-ttl", "20s"]).await;
    let entry = world.register("/own/short", &World::own_selectors()).await;
    let mut client = SpiffeWorkloadApiClient::new(agent_channel(&world.agent_socket()));
    let mut stream = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
    let serial = |message: &sekisho_proto::workload::X509svidResponse| {
        let chain = split_chain(&message.svids[0].x509_svid).unwrap();
        let facts = leaf_facts(&chain[0]).unwrap();
        let claim = |name: &str| facts.claims.get(name).cloned();
        // Nothing attests hardware yet, and the SVID says so rather than nothing.
        assert_eq!(claim("hw_attested"), Some(ClaimValue::Bool(false)));
        assert_eq!(claim("evidence"), Some(ClaimValue::Text("process".into())));
        assert!(claim("executable_sha256").is_some());
        facts.serial
    };
    let first = serial(&stream.message().await.unwrap().unwrap());
    let second = serial(&stream.message().await.unwrap().unwrap());
    assert_ne!(first, second);
    world.text(&["entry", "delete", &entry]).await;
    // Law L12: what a stream may have is judged again when an entry changes.
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a reason"),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::PermissionDenied);
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn law_l16_advice_pasted_gives_no_service_to_another_process() {
    let world = World::start().await;
    let good = ["unix:uid:0".to_owned(), format!("unix:sha256:{}", "a".repeat(64))];
    let entry = world.register("/shop/till", &good).await;
    // This very test asks, as root and with another executable than the service's.
    let why = world.json(&["why", "identity", "--pid", &std::process::id().to_string()]).await;
    assert_eq!(why["differences"][0]["wants"], good[1]);
    assert_eq!(why["entries"][0]["id"], entry.as_str());
    let commands: Vec<&str> = why["advice"].as_array().unwrap().iter().filter_map(|a| a["command"].as_str()).collect();
    assert!(commands.iter().any(|command| command.starts_with(&format!("sekisho entry approve {entry} --sha256"))));
    for command in &commands {
        let (_, out, err) = world.sekisho(&command.split(' ').skip(1).collect::<Vec<_>>()).await;
        println!("{command}: {out}{err}");
    }
    let after = world.json(&["entry", "show", &entry]).await;
    assert_eq!(after["selectors"].as_array().unwrap().len(), 2, "{after}");
    assert!(good.iter().all(|selector| after["selectors"].as_array().unwrap().contains(&selector.as_str().into())));
    let why = world.json(&["why", "identity", "--pid", &std::process::id().to_string()]).await;
    let given = why["matched"].as_array().unwrap();
    assert!(given.iter().all(|entry| entry["spiffe_id"] != "spiffe://example.org/shop/till"), "{given:?}");
}

#[tokio::test(start_paused = true)]
async fn approving_a_release_keeps_other_selectors() {
    let world = World::start().await;
    let (old, new) = ("a".repeat(64), "b".repeat(64));
    let entry = world.register("/shop/till", &["unix:uid:4711".to_owned(), format!("unix:sha256:{old}")]).await;
    let found = format!("unix:uid:4711,unix:sha256:{new}");
    let (code, _, refused) = world.sekisho(&["entry", "approve", &entry, "--sha256", &new]).await;
    assert!(
        code == 3 && refused.contains(&old) && refused.contains(&new),
        "no terminal, no approval: {code} {refused}"
    );
    world.text(&["entry", "approve", &entry, "--sha256", &new, "--yes"]).await;
    let after = world.json(&["entry", "show", &entry]).await;
    assert_eq!(after["selectors"], serde_json::json!([format!("unix:sha256:{new}"), "unix:uid:4711"]));
    eventually("the new release matches", async || {
        let why = world.json(&["why", "identity", "--selectors", &found]).await;
        (!why["matched"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
    let plain = world.register("/shop/plain", &["unix:uid:4712".to_owned()]).await;
    let (code, _, said) = world.sekisho(&["entry", "approve", &plain, "--sha256", &new, "--yes"]).await;
    assert!(code == 1 && said.contains("--add-selector"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn law_l16_only_danger_flags_weaken_an_entry() {
    let world = World::start().await;
    let (digest, other) = (format!("unix:sha256:{}", "a".repeat(64)), format!("unix:sha256:{}", "b".repeat(64)));
    let entry = world.register("/shop/till", &["unix:uid:4711".to_owned(), digest.clone()]).await;
    let selectors = async || world.json(&["entry", "show", &entry]).await["selectors"].clone();
    let before = selectors().await;
    for refused in
        [&["--selector", "unix:uid:4711"][..], &["--remove-selector", &digest], &["--selector", "unix:gid:0"]]
    {
        let (code, _, said) = world.sekisho(&[&["entry", "update", &entry][..], refused].concat()).await;
        assert!(code == 1 && said.contains("unix:sha256") && selectors().await == before, "{refused:?}: {code} {said}");
    }
    world.text(&["entry", "update", &entry, "--add-selector", "unix:gid:5"]).await;
    world.text(&["entry", "update", &entry, "--remove-selector", &digest, "--add-selector", &other]).await;
    assert_eq!(selectors().await, serde_json::json!(["unix:gid:5", other, "unix:uid:4711"]));
    world.text(&["entry", "update", &entry, "--selector", "unix:uid:4711", "--danger-loosen"]).await;
    assert_eq!(selectors().await, serde_json::json!(["unix:uid:4711"]));
    assert!(world.server.as_ref().unwrap().logged().contains("danger: an entry asks for less"));
}

#[tokio::test(start_paused = true)]
async fn an_entry_for_any_user_is_refused() {
    use sekisho_proto::spire::entry::v1::{BatchCreateEntryRequest, entry_client::EntryClient};
    use sekisho_proto::types;

    let world = World::start().await;
    let new = ["entry", "create", "--spiffe-id", "spiffe://example.org/a", "--parent-id", &world.agent_id];
    let digest = format!("unix:sha256:{}", "ab".repeat(32));
    let alone = [&new[..], &["--selector", &digest, "--selector", "unix:path:/usr/bin/python3"]].concat();
    let (code, out, err) = world.sekisho(&alone).await;
    assert!(code != 0 && err.contains("add one, for example `unix:uid:"), "{out}{err}");
    let doctor = async || world.sekisho(&["doctor"]).await.1;
    assert!(!doctor().await.contains("danger_any_user"));
    let made = world.json(&[&alone[..], &["--danger-any-user"]].concat()).await;
    assert_eq!(made["danger_any_user"], true);
    let id = made["id"].as_str().unwrap();
    assert!(doctor().await.contains("danger_any_user") && doctor().await.contains(id), "{}", doctor().await);
    // It stays as it is meant, and can only become better by itself.
    world.text(&["entry", "update", id, "--hint", "h"]).await;
    assert_eq!(world.json(&["entry", "update", id, "--add-selector", "unix:uid:7"]).await["danger_any_user"], false);
    let (code, ..) =
        world.sekisho(&["entry", "update", id, "--remove-selector", "unix:uid:7", "--danger-loosen"]).await;
    assert_ne!(code, 0);
    assert!(!doctor().await.contains("danger_any_user"));

    let spiffe = |path: &str| Some(types::Spiffeid { trust_domain: "example.org".into(), path: path.into() });
    let selectors = vec![types::Selector { r#type: "unix".into(), value: "path:/usr/bin/a".into() }];
    let parent = world.agent_id.strip_prefix("spiffe://example.org").unwrap();
    let entry =
        types::Entry { spiffe_id: spiffe("/spire"), parent_id: spiffe(parent), selectors, ..Default::default() };
    let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
    let channel = sekisho_net::grpc_over_unix(world.path("s/api.sock"));
    let made = EntryClient::new(channel).batch_create_entry(request).await.unwrap().into_inner().results.remove(0);
    assert_eq!(made.status.unwrap().code, 0);
    assert!(doctor().await.contains("danger_any_user"));
    assert!(world.server.as_ref().unwrap().logged().contains("danger_any_user"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_revoked_is_refused() {
    let world = World::start().await;
    for arguments in [
        &["--serial", "xyz"][..],
        &["--entry", "ent_none"],
        &["--agent-id", "spiffe://example.org/shop/till"],
        &["--spiffe-id", "spiffe://example.com/shop/till"],
        &["--spiffe-id", &world.agent_id],
        &["--spiffe-id", "spiffe://example.org/spire/server"],
    ] {
        let (code, out, said) = world.sekisho(&[&["revocation", "create", "--yes"], arguments].concat()).await;
        assert_eq!(code, 1, "{arguments:?}: {out}{said}");
    }
    assert_eq!(world.sekisho(&["revocation", "create", "--yes"]).await.0, 3);
    for unknown in [
        ["--serial", "019ac3f05d1b4a7e8f2233445566778899"],
        ["--agent-id", "spiffe://example.org/spire/agent/join_token/none"],
    ] {
        let create = [&["revocation", "create", "--yes"], &unknown[..]].concat();
        let (code, out, said) = world.sekisho(&create).await;
        assert!(code == 1 && said.contains("nothing was revoked"), "{unknown:?}: {code} {out}{said}");
        assert_eq!(world.json(&["revocation", "list"]).await["revocations"], serde_json::json!([]));
    }
    let precaution = ["revocation", "create", "--yes", "--unknown", "--serial", "019ac3f05d1b4a7e8f2233445566778899"];
    let said = world.text(&precaution).await;
    assert!(said.contains("as a precaution"), "{said}");
    assert_eq!(world.json(&["revocation", "list"]).await["revocations"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_shipped_policy_passes_its_own_tests() {
    let folder = crate::world::manifest_folder().join("../../policies/dev");
    let test = ["policy", "test", "-o", "json", folder.to_str().unwrap()].map(Into::into);
    let answer = sekisho::answer(test).await;
    let rows: serde_json::Value = serde_json::from_str(&answer.printed).unwrap();
    assert!(answer.code == 0, "{rows}");
    assert!(rows.as_array().unwrap().len() >= 7);
}
