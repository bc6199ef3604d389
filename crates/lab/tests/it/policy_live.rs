//! Policy: edited live, refused when broken, tested offline.

use serde_json::Value;

use crate::world::{POLICY, World, eventually};

fn revision(world: &World) -> u64 {
    let shown = world.sekisho(&["policy", "show", "-o", "json"]).1;
    serde_json::from_str::<Value>(&shown).ok().and_then(|shown| shown["revision"].as_u64()).unwrap_or(0)
}

#[test]
fn a_broken_policy_edit_keeps_the_last_revision() {
    let world = World::start();
    let first = eventually("the first revision", || Some(revision(&world)).filter(|r| *r > 0));
    let file = world.path("policy/p.rego");
    std::fs::write(&file, POLICY.replace("\"GET\"", "\"PUT\"")).unwrap();
    let second = eventually("the edit", || Some(revision(&world)).filter(|r| *r > first));
    assert_eq!(second, first + 1, "an edit is one revision, whatever else changes");
    std::fs::write(&file, "package workload.authz\nallow if { input.method == }\n").unwrap();
    let (code, _, err) = world.sekisho(&["policy", "check", world.path("policy").to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(err.contains("p.rego:2"), "{err}");
    let (code, _, err) = world.sekisho(&["policy", "apply", world.path("policy").to_str().unwrap()]);
    assert!(code == 1 && err.contains("follows the folder"), "{err}");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(revision(&world), second);
}
