//! Proofs: any change to leaf, opening, path, checkpoint or trusted key fails.

use crate::world::World;

#[test]
fn a_proof_verifies_and_no_changed_one_does() {
    let world = World::start();
    world.register("/own/test", &World::own_selectors());
    let rows = crate::world::eventually("an attestation is in the index", || {
        let rows = world.json(&["svid", "list"]);
        rows.as_array().unwrap().iter().any(|row| row["kind"] == "attestation").then_some(rows)
    });
    let id = rows.as_array().unwrap().iter().find(|r| r["kind"] == "attestation").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    world.text(&["prove", &id, "--file", "p", "--trust-policy", "trust"]);
    let shown = world.json(&["verify", "p", "--policy", "trust"]);
    assert_eq!(shown["leaf"]["kind"], "attestation");
    assert_eq!(shown["opened"]["agent"], world.agent_id.as_str());

    let proof = std::fs::read_to_string(world.path("p")).unwrap();
    let trust = sekisho_ledger::TrustPolicy::parse(&std::fs::read_to_string(world.path("trust")).unwrap()).unwrap();
    let verifies = |text: &str| sekisho_ledger::Receipt::parse(text).and_then(|receipt| receipt.verify(&trust)).is_ok();
    assert!(verifies(&proof));
    for at in (0..proof.len()).filter(|at| proof.is_char_boundary(*at) && proof.is_char_boundary(*at + 1)) {
        let old = proof.as_bytes()[at];
        // Another digit of the same alphabet: the likeliest change to slip through.
        let new = match old {
            b'A' => 'B',
            b'0' => '1',
            b'\n' => ' ',
            _ => 'A',
        };
        let changed = format!("{}{new}{}", &proof[..at], &proof[at + 1..]);
        if changed != proof {
            assert!(!verifies(&changed), "byte {at} ({:?}) was changed to {new:?}", char::from(old));
        }
    }
    let other = sekisho_ledger::VerifierKey::ed25519("example.org/sekisho", &[7; 32]).unwrap();
    std::fs::write(world.path("other"), format!("log {other}\nquorum none\n")).unwrap();
    assert_eq!(world.sekisho(&["verify", "p", "--policy", "other"]).0, 2);
}
