//! Identities as workloads get them, by a client that nobody here wrote and by ours.

use std::process::Command;

use sekisho_identity::{leaf_facts, split_chain};
use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use sekisho_sdk::agent_channel;
use sekisho_types::ClaimValue;

use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_spiffe_crate_gets_x509_and_jwt_svids_and_openssl_verifies_the_chain() {
    let world = World::start();
    world.register("/own/test", &World::own_selectors());
    let endpoint = format!("unix:{}", world.agent_socket().display());

    let client = spiffe::WorkloadApiClient::connect_to(&endpoint).await.unwrap();
    let context = client.fetch_x509_context().await.unwrap();
    let svid = context.default_svid().unwrap();
    assert_eq!(svid.spiffe_id().to_string(), "spiffe://example.org/own/test");

    let (chain, bundle) = (world.path("leaf.pem"), world.path("bundle.pem"));
    std::fs::write(&bundle, world.text(&["bundle", "show"])).unwrap();
    std::fs::write(&chain, pem(svid.leaf().as_ref())).unwrap();
    let verified =
        Command::new("openssl").args(["verify", "-x509_strict", "-CAfile"]).arg(&bundle).arg(&chain).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

    let token = client.fetch_jwt_svid(["db"], None).await.unwrap();
    assert_eq!(token.spiffe_id().to_string(), "spiffe://example.org/own/test");
    let validated = client.validate_jwt_token("db", token.token()).await.unwrap();
    assert_eq!(validated.spiffe_id(), token.spiffe_id());
    assert!(client.validate_jwt_token("other", token.token()).await.is_err());
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_rotates_at_half_life_and_ends_with_its_entry() {
    let world = World::with(&["--x509-ttl", "20s"]);
    let entry = world.register("/own/short", &World::own_selectors());
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
    world.text(&["entry", "delete", &entry]);
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

#[tokio::test(flavor = "multi_thread")]
async fn law_l14_an_agent_that_restarts_while_the_server_is_down_keeps_serving() {
    let mut world = World::start();
    world.register("/own/test", &World::own_selectors());
    let fetch = async |world: &World| {
        let mut client = SpiffeWorkloadApiClient::new(agent_channel(&world.agent_socket()));
        let mut stream = client.fetch_x509svid(X509svidRequest {}).await?.into_inner();
        stream.message().await
    };
    fetch(&world).await.unwrap().unwrap();
    // The cache is written after changes, five times a second at most.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    world.server.take().unwrap().kill();
    world.agent.take().unwrap().kill();
    world.start_agent();
    let message = fetch(&world).await.unwrap().unwrap();
    assert_eq!(message.svids[0].spiffe_id, "spiffe://example.org/own/test");
    world.start_server();
    eventually("the agent finds the server again", || {
        let checks = world.sekisho(&["doctor", "-o", "json"]).1;
        let checks: serde_json::Value = serde_json::from_str(&checks).ok()?;
        checks.as_array()?.iter().find(|c| c["id"] == "agent-server")?["ok"].as_bool()?.then_some(())
    });
}

#[test]
fn law_l16_advice_pasted_gives_no_service_to_another_process() {
    let world = World::start();
    let good = ["unix:uid:0".to_owned(), format!("unix:sha256:{}", "a".repeat(64))];
    let entry = world.register("/shop/till", &good);
    // This very test asks, as root and with another executable than the service's.
    let why = world.json(&["why", "identity", "--pid", &std::process::id().to_string()]);
    assert_eq!(why["differences"][0]["wants"], good[1]);
    assert_eq!(why["entries"][0]["id"], entry.as_str());
    let commands: Vec<&str> = why["advice"].as_array().unwrap().iter().filter_map(|a| a["command"].as_str()).collect();
    assert!(commands.iter().any(|command| command.starts_with(&format!("sekisho entry approve {entry} --sha256"))));
    for command in &commands {
        let (_, out, err) = world.sekisho(&command.split(' ').skip(1).collect::<Vec<_>>());
        println!("{command}: {out}{err}");
    }
    let after = world.json(&["entry", "show", &entry]);
    assert_eq!(after["selectors"].as_array().unwrap().len(), 2, "{after}");
    assert!(good.iter().all(|selector| after["selectors"].as_array().unwrap().contains(&selector.as_str().into())));
    let why = world.json(&["why", "identity", "--pid", &std::process::id().to_string()]);
    let given = why["matched"].as_array().unwrap();
    assert!(given.iter().all(|entry| entry["spiffe_id"] != "spiffe://example.org/shop/till"), "{given:?}");
}

#[test]
fn a_new_release_is_approved_and_every_other_selector_stays() {
    let world = World::start();
    let (old, new) = ("a".repeat(64), "b".repeat(64));
    let entry = world.register("/shop/till", &["unix:uid:4711".to_owned(), format!("unix:sha256:{old}")]);
    let found = format!("unix:uid:4711,unix:sha256:{new}");
    let (code, _, refused) = world.sekisho(&["entry", "approve", &entry, "--sha256", &new]);
    assert!(
        code == 3 && refused.contains(&old) && refused.contains(&new),
        "no terminal, no approval: {code} {refused}"
    );
    world.text(&["entry", "approve", &entry, "--sha256", &new, "--yes"]);
    let after = world.json(&["entry", "show", &entry]);
    assert_eq!(after["selectors"], serde_json::json!([format!("unix:sha256:{new}"), "unix:uid:4711"]));
    eventually("the new release matches", || {
        let why = world.json(&["why", "identity", "--selectors", &found]);
        (!why["matched"].as_array().unwrap().is_empty()).then_some(())
    });
    let plain = world.register("/shop/plain", &["unix:uid:4712".to_owned()]);
    let (code, _, said) = world.sekisho(&["entry", "approve", &plain, "--sha256", &new, "--yes"]);
    assert!(code == 1 && said.contains("--add-selector"), "{said}");
}

#[test]
fn law_l16_an_entry_asks_for_less_only_by_a_flag_that_says_danger() {
    let world = World::start();
    let (digest, other) = (format!("unix:sha256:{}", "a".repeat(64)), format!("unix:sha256:{}", "b".repeat(64)));
    let entry = world.register("/shop/till", &["unix:uid:4711".to_owned(), digest.clone()]);
    let selectors = || world.json(&["entry", "show", &entry])["selectors"].clone();
    let before = selectors();
    for refused in
        [&["--selector", "unix:uid:4711"][..], &["--remove-selector", &digest], &["--selector", "unix:gid:0"]]
    {
        let (code, _, said) = world.sekisho(&[&["entry", "update", &entry][..], refused].concat());
        assert!(code == 1 && said.contains("unix:sha256") && selectors() == before, "{refused:?}: {code} {said}");
    }
    world.text(&["entry", "update", &entry, "--add-selector", "unix:gid:5"]);
    world.text(&["entry", "update", &entry, "--remove-selector", &digest, "--add-selector", &other]);
    assert_eq!(selectors(), serde_json::json!(["unix:gid:5", other, "unix:uid:4711"]));
    world.text(&["entry", "update", &entry, "--selector", "unix:uid:4711", "--danger-loosen"]);
    assert_eq!(selectors(), serde_json::json!(["unix:uid:4711"]));
    assert!(world.server.as_ref().unwrap().said().contains("danger: an entry asks for less"));
}
