//! Join tokens, and hosts that join again.

use crate::world::{World, eventually};

fn agents(world: &World) -> Vec<String> {
    let listed = world.json(&["agents", "list"]);
    listed.as_array().unwrap().iter().map(|agent| agent["id"].as_str().unwrap().to_owned()).collect()
}

/// An evicted agent went on unknown for hours, and a new token made it another agent without entries.
#[test]
fn an_evicted_agent_joins_again_by_a_new_token_under_its_own_id_and_its_entries_stay() {
    let mut world = World::start();
    let token = world.path("token");
    let entry = world.register("/own/test", &["unix:uid:4711".to_owned()]);
    let served = |world: &World| {
        let why = world.json(&["why", "identity", "--selectors", "unix:uid:4711"]);
        why["matched"].as_array().unwrap().iter().any(|found| found["id"] == entry.as_str())
    };
    let renew = |world: &World| {
        std::fs::remove_file(&token).unwrap();
        world.text(&["token", "create", "--agent-id", &world.agent_id, "--file", token.to_str().unwrap()]);
    };
    let known = agents(&world);
    assert_eq!(known, [world.agent_id.clone()]);
    // The same host, evicted while it is off, is installed anew.
    drop(world.agent.take());
    world.text(&["agents", "evict", &world.agent_id]);
    std::fs::remove_dir_all(world.path("a")).unwrap();
    renew(&world);
    world.start_agent();
    assert_eq!(agents(&world), known);
    eventually("its entry is served again", || served(&world).then_some(()));
    // It restarts after an eviction with what it holds, and a used token: then it waits for a new one.
    drop(world.agent.take());
    world.text(&["agents", "evict", &world.agent_id]);
    world.start_agent();
    eventually("the agent says what it waits for", || {
        world.agent.as_ref().unwrap().said().contains("put a new one there").then_some(())
    });
    assert!(agents(&world).is_empty());
    renew(&world);
    eventually("the running agent joins again", || (agents(&world) == known).then_some(()));
    // Evicted while it runs and is connected, with the next token in its file already.
    renew(&world);
    world.text(&["agents", "evict", &world.agent_id]);
    eventually("the evicted agent joins again", || (agents(&world) == known).then_some(()));
    eventually("its entry is served again", || served(&world).then_some(()));
}

#[test]
fn tokens_are_listed_by_id_and_never_whole_and_can_be_revoked() {
    let world = World::start();
    let made = world.json(&["token", "create", "--agent-id", "host-a"]);
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert_eq!(made["agent_id"], "spiffe://example.org/spire/agent/join_token/host-a");
    let plain = world.json(&["token", "create"]);
    assert!(
        !plain["agent_id"].as_str().unwrap().contains(plain["token"].as_str().unwrap()),
        "the ID is stored and logged"
    );
    let listed = world.text(&["token", "list"]);
    assert!(listed.contains(id) && listed.contains("join_token/host-a"), "{listed}");
    for token in [token, plain["token"].as_str().unwrap()] {
        assert!(!listed.contains(token), "{listed}");
        let grep = std::process::Command::new("grep").args(["-rqaF", token]).arg(world.path("s")).status().unwrap();
        assert_eq!(grep.code(), Some(1), "a token lies on the server's disk");
    }
    world.text(&["token", "revoke", id]);
    assert_eq!(world.sekisho(&["token", "revoke", id]).0, 1);
    assert!(!world.text(&["token", "list"]).contains(id));
    std::fs::write(world.path("revoked"), token).unwrap();
    let mut agent = world.agent_command("b", &world.path("revoked"));
    let output = agent.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("unknown or was used before"), "{said}");
    let is_revocation = |leaf: &serde_json::Value| leaf["event"] == "revoked" && leaf["token"] == id;
    eventually("the log says so", || world.leaves("token-change").iter().any(is_revocation).then_some(()));
}

#[test]
fn a_token_gives_no_other_kind_of_agent_s_id_and_brings_no_banned_agent_back() {
    let world = World::start();
    for name in [
        "spiffe://example.org/spire/server",
        "spiffe://example.org/spire/agent/x509pop/0123",
        "spiffe://example.org/spire/agent/join_token/a/b",
        "spiffe://example.com/spire/agent/join_token/a",
        "spiffe://example.org/shop/till",
        "a/b",
        "..",
        "",
        "a b",
    ] {
        let (code, out, said) = world.sekisho(&["token", "create", "--agent-id", name]);
        assert_eq!(code, 1, "{name}: {out}{said}");
    }
    world.text(&["agents", "ban", &world.agent_id]);
    let (code, _, said) = world.sekisho(&["token", "create", "--agent-id", &world.agent_id]);
    assert!(code == 1 && said.contains("banned"), "{said}");
}

#[test]
fn a_newer_token_takes_the_place_of_a_used_one() {
    let world = World::start();
    let used = std::fs::read_to_string(world.path("token")).unwrap();
    world.json(&["token", "create", "--agent-id", "again", "--file", "token"]);
    let newer = std::fs::read_to_string(world.path("token")).unwrap();
    assert!(newer != used && newer.len() == 32, "{newer}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(world.path("token")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Nothing else is written over.
    std::os::unix::fs::symlink("token", world.path("link")).unwrap();
    for file in ["policy/p.rego", "link"] {
        let refused = world.sekisho(&["token", "create", "--file", file]);
        assert!(refused.0 == 1 && refused.2.contains("holds no join token"), "{file}: {refused:?}");
    }
    assert_eq!(std::fs::read_to_string(world.path("token")).unwrap(), newer);
}
