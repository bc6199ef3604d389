//! Join tokens, and hosts that join again.

use crate::within::{World, eventually, holds};
use crate::world::POLICY;

async fn agents(world: &World) -> Vec<String> {
    let listed = world.json(&["agents", "list"]).await;
    listed.as_array().unwrap().iter().map(|agent| agent["id"].as_str().unwrap().to_owned()).collect()
}

/// An evicted agent went on unknown for hours, and a new token made it another agent without entries.
#[tokio::test(start_paused = true)]
async fn an_evicted_agent_joins_again_with_its_entries() {
    let mut world = World::start().await;
    let token = world.path("token");
    let entry = world.register("/own/test", &["unix:uid:4711".to_owned()]).await;
    let served = async |world: &World| {
        let why = world.json(&["why", "identity", "--selectors", "unix:uid:4711"]).await;
        why["matched"].as_array().unwrap().iter().any(|found| found["id"] == entry.as_str())
    };
    let renew = async |world: &World| {
        std::fs::remove_file(&token).unwrap();
        world.text(&["token", "create", "--agent-id", &world.agent_id, "--file", token.to_str().unwrap()]).await;
    };
    let known = agents(&world).await;
    assert_eq!(known, [world.agent_id.clone()]);
    // The same host, evicted while it is off, is installed anew.
    world.stop_agent().await;
    world.text(&["agents", "evict", &world.agent_id]).await;
    std::fs::remove_dir_all(world.path("a")).unwrap();
    renew(&world).await;
    world.start_agent().await;
    assert_eq!(agents(&world).await, known);
    eventually("its entry is served again", async || served(&world).await.then_some(())).await;
    // It restarts after an eviction with what it holds, and a used token: then it waits for a new one.
    world.stop_agent().await;
    world.text(&["agents", "evict", &world.agent_id]).await;
    world.start_agent().await;
    eventually("the agent says what it waits for", async || {
        world.agent.as_ref().unwrap().logged().contains("put a new one there").then_some(())
    })
    .await;
    assert!(agents(&world).await.is_empty());
    renew(&world).await;
    eventually("the running agent joins again", async || (agents(&world).await == known).then_some(())).await;
    // Evicted while it runs and is connected, with the next token in its file already.
    renew(&world).await;
    world.text(&["agents", "evict", &world.agent_id]).await;
    eventually("the evicted agent joins again", async || (agents(&world).await == known).then_some(())).await;
    eventually("its entry is served again", async || served(&world).await.then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn tokens_are_listed_and_revoked_by_id() {
    let world = World::start().await;
    let made = world.json(&["token", "create", "--agent-id", "host-a"]).await;
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert_eq!(made["agent_id"], "spiffe://example.org/spire/agent/join_token/host-a");
    let plain = world.json(&["token", "create"]).await;
    assert!(
        !plain["agent_id"].as_str().unwrap().contains(plain["token"].as_str().unwrap()),
        "the ID is stored and logged"
    );
    let listed = world.text(&["token", "list"]).await;
    assert!(listed.contains(id) && listed.contains("join_token/host-a"), "{listed}");
    for token in [token, plain["token"].as_str().unwrap()] {
        assert!(!listed.contains(token), "{listed}");
        assert!(!holds(&world.path("s"), token.as_bytes()), "a token lies on the server's disk");
    }
    world.text(&["token", "revoke", id]).await;
    assert_eq!(world.sekisho(&["token", "revoke", id]).await.0, 1);
    assert!(!world.text(&["token", "list"]).await.contains(id));
    let revoked = world.path("revoked");
    std::fs::write(&revoked, token).unwrap();
    let said = world.try_agent("b", &["--join-token-file", revoked.to_str().unwrap()]).await.err().unwrap();
    assert!(said.contains("unknown or was used before"), "{said}");
    let is_revocation = |leaf: &serde_json::Value| leaf["event"] == "revoked" && leaf["token"] == id;
    eventually("the log says so", async || world.leaves("token-change").await.iter().any(is_revocation).then_some(()))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_token_admits_no_banned_or_foreign_agent() {
    let world = World::start().await;
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
        let (code, out, said) = world.sekisho(&["token", "create", "--agent-id", name]).await;
        assert_eq!(code, 1, "{name}: {out}{said}");
    }
    world.text(&["agents", "ban", &world.agent_id]).await;
    let (code, _, said) = world.sekisho(&["token", "create", "--agent-id", &world.agent_id]).await;
    assert!(code == 1 && said.contains("banned"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_newer_token_replaces_a_used_one() {
    let world = World::start().await;
    let used = std::fs::read_to_string(world.path("token")).unwrap();
    world.json(&["token", "create", "--agent-id", "again", "--file", "./token"]).await;
    let newer = std::fs::read_to_string(world.path("token")).unwrap();
    assert!(newer != used && newer.len() == 32, "{newer}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(world.path("token")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Nothing else is written over.
    std::os::unix::fs::symlink("token", world.path("link")).unwrap();
    std::fs::write(world.path("p.rego"), POLICY).unwrap();
    for file in ["./p.rego", "./link"] {
        let refused = world.sekisho(&["token", "create", "--file", file]).await;
        assert!(refused.0 == 1 && refused.2.contains("holds no join token"), "{file}: {refused:?}");
    }
    assert_eq!(std::fs::read_to_string(world.path("token")).unwrap(), newer);
}
