//! What the leaves of changes commit to.

use serde_json::Value;

use crate::within::{World, eventually, holds};

#[tokio::test(start_paused = true)]
async fn entry_leaves_commit_to_old_and_new_values() {
    let world = World::start().await;
    let id = "spiffe://example.org/own/whole";
    let create = ["entry", "create", "--spiffe-id", id, "--parent-id", &world.agent_id, "--selector", "unix:uid:7"];
    let options = ["--admin", "true", "--dns-name", "a.internal", "--x509-ttl", "601s"];
    let entry = world.json(&[&create[..], &options].concat()).await["id"].as_str().unwrap().to_owned();
    world.text(&["entry", "update", &entry, "--admin", "false"]).await;
    world.text(&["entry", "delete", &entry]).await;
    let of_entry = |leaf: &Value| leaf["entry"] == entry.as_str();
    let leaves = eventually("three leaves", async || {
        let leaves: Vec<Value> = world.leaves("entry-change").await.into_iter().filter(of_entry).collect();
        (leaves.len() == 3).then_some(leaves)
    })
    .await;
    let committed = |leaf: &Value| ["before", "after"].map(|name| leaf[name].is_string());
    assert_eq!(leaves.iter().map(committed).collect::<Vec<_>>(), [[false, true], [true, true], [true, false]]);
    // Values stand in JSON texts in JSON texts.
    for text in [
        r#"{\"admin\":true,\"created_at_ns\":"#,
        r#"{\"admin\":false,\"created_at_ns\":"#,
        r#"\"dns_names\":[\"a.internal\"],\"downstream\":false,\"expires_at\":null"#,
        r#"\"v\":1,\"x509_ttl_seconds\":601}"#,
    ] {
        world.log_says(text).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_leaf_names_only_the_agent() {
    let world = World::start().await;
    let made = world.json(&["token", "create"]).await;
    let (token, agent) = (made["token"].as_str().unwrap(), made["agent_id"].as_str().unwrap());
    world.log_says(agent).await;
    assert!(world.leaves("token-change").await.iter().all(|leaf| leaf["agent"].is_string()));
    assert!(holds(&world.path("s/ledger"), agent.as_bytes()));
    assert!(!holds(&world.path("s/ledger"), token.as_bytes()), "a token that is not spent yet is in the log's folder");
}
