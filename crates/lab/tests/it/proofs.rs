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
    let shown = world.json(&["verify", "p", "--trust-policy", "trust"]);
    assert_eq!(shown["leaf"]["kind"], "attestation");
    assert_eq!(shown["opened"]["agent"], world.agent_id.as_str());

    let proof = std::fs::read_to_string(world.path("p")).unwrap();
    let trust = sekisho_ledger::TrustPolicy::parse(&std::fs::read_to_string(world.path("trust")).unwrap()).unwrap();
    let verifies = |text: &str| sekisho_events::Receipt::parse(text).and_then(|receipt| receipt.verify(&trust)).is_ok();
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
    assert_eq!(world.sekisho(&["verify", "p", "--trust-policy", "other"]).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_was_flipped_on_disk_is_found_and_no_proof_is_given() {
    let world = World::start();
    let peer = crate::peers::Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/a");
    while world.leaves("issuance").len() < 520 {
        let many = (0..100).map(|_| peer.issue(&entry));
        futures_util::future::join_all(many).await.into_iter().for_each(|issued| drop(issued.unwrap()));
    }
    world.text(&["prove", "300", "--file", "p", "--trust-policy", "trust"]);
    for file in ["tile/entries/000", "tile/entries/001", "tile/0/000", "tile/0/001"] {
        let path = world.path("s/ledger").join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let at = flipped.len() / 2;
        flipped[at] ^= 1;
        // While it runs: a start, and a backup's check, mend what the write-ahead file still holds.
        std::fs::write(&path, &flipped).unwrap();
        let damaged = (0..520u32).filter(|index| world_prove(&world, *index)).count();
        assert!(damaged > 0, "{file}: every proof was given");
        std::fs::write(&path, whole).unwrap();
        world.text(&["prove", "300", "--file", "p"]);
    }
}

/// Whether a proof of this leaf is refused because of damage. One that is given verifies.
fn world_prove(world: &World, index: u32) -> bool {
    // The damage is in the middle of a tile of 256, so its neighbours are enough.
    if !index.is_multiple_of(32) && !(96..160).contains(&(index % 256)) {
        return false;
    }
    let (code, _, err) = world.sekisho(&["prove", &index.to_string(), "--file", "damaged"]);
    match code {
        0 => {
            assert_eq!(world.sekisho(&["verify", "damaged", "--trust-policy", "trust"]).0, 0, "entry {index}");
            false
        }
        _ => {
            assert!(err.contains("its log says why"), "{err}");
            // What it writes comes by another way than its answer.
            let said = || world.server.as_ref().unwrap().said().contains("the log is damaged");
            crate::world::eventually("the server says so", || said().then_some(()));
            true
        }
    }
}
