//! What the leaves of changes commit to.

use std::process::Command;

use serde_json::Value;

use crate::world::{World, eventually};

#[test]
fn an_entry_s_leaves_commit_to_all_of_it_before_and_after() {
    let world = World::start();
    let id = "spiffe://example.org/own/whole";
    let create = ["entry", "create", "--spiffe-id", id, "--parent-id", &world.agent_id, "--selector", "unix:uid:7"];
    let options = ["--admin", "true", "--dns-name", "a.internal", "--x509-ttl", "601s"];
    let entry = world.json(&[&create[..], &options].concat())["id"].as_str().unwrap().to_owned();
    world.text(&["entry", "update", &entry, "--admin", "false"]);
    world.text(&["entry", "delete", &entry]);
    let of_entry = |leaf: &Value| leaf["entry"] == entry.as_str();
    let leaves = eventually("three leaves", || {
        let leaves: Vec<Value> = world.leaves("entry-change").into_iter().filter(of_entry).collect();
        (leaves.len() == 3).then_some(leaves)
    });
    let committed = |leaf: &Value| ["before", "after"].map(|name| leaf[name].is_string());
    assert_eq!(leaves.iter().map(committed).collect::<Vec<_>>(), [[false, true], [true, true], [true, false]]);
    // Values stand in JSON texts in JSON texts.
    for text in [
        r#"{\"admin\":true,\"created_at_ns\":"#,
        r#"{\"admin\":false,\"created_at_ns\":"#,
        r#"\"dns_names\":[\"a.internal\"],\"downstream\":false,\"expires_at\":null"#,
        r#"\"v\":1,\"x509_ttl_seconds\":601}"#,
    ] {
        world.log_says(text);
    }
}

#[test]
fn a_token_s_leaf_names_the_agent_and_keeps_the_token_secret() {
    let world = World::start();
    let made = world.json(&["token", "create"]);
    let (token, agent) = (made["token"].as_str().unwrap(), made["agent_id"].as_str().unwrap());
    world.log_says(agent);
    assert!(world.leaves("token-change").iter().all(|leaf| leaf["agent"].is_string()));
    let found = Command::new("grep").args(["-rqaF", token]).arg(world.path("s/ledger")).status().unwrap();
    assert!(!found.success(), "a token that is not spent yet is in the log's folder");
}
