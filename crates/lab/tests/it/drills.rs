//! `sekisho drill` on a running system.

use crate::world::World;

fn drill(world: &World) -> (i32, String, String) {
    let socket = world.agent_socket().display().to_string();
    world.sekisho(&["drill", "tamper-binary", "-o", "json", "--agent-socket", &socket])
}

#[test]
fn a_changed_binary_is_refused_and_recorded() {
    let world = World::start();
    let before = world.json(&["entry", "list"]);
    let (code, out, err) = drill(&world);
    assert_eq!(code, 0, "{err}");
    let drilled: serde_json::Value = serde_json::from_str(&out).unwrap();
    let refusal = drilled["refusal"].as_str().unwrap();
    assert!(refusal.starts_with("ref_"), "{drilled}");
    let (refused, recorded) = (&drilled["refused_after_ms"], &drilled["recorded_after_ms"]);
    assert!(refused.as_u64().unwrap() <= recorded.as_u64().unwrap(), "{drilled}");
    // It leaves nothing behind.
    assert_eq!(world.json(&["entry", "list"]), before);
    let (code, why, _) = world.sekisho(&["why", refusal]);
    assert!(code == 2 && why.contains("unix:sha256 differs"), "{code}: {why}");
}

/// An entry that covers a program by its user alone covers a changed one too: the drill has to say so.
#[test]
fn a_drill_fails_where_a_change_is_unseen() {
    let world = World::start();
    world.register("/any", &[format!("unix:uid:{}", sekisho_host::own_uid())]);
    let (code, _, err) = drill(&world);
    assert!(code == 2 && err.contains("the changed binary got an identity"), "{code}: {err}");
    assert!(!world.text(&["entry", "list"]).contains("/drill/"));
}
