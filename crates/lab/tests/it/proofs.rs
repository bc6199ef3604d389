//! Proofs: any change to leaf, opening, path, checkpoint or trusted key fails.

use crate::within::World;

#[tokio::test(start_paused = true)]
async fn a_proof_verifies_and_no_changed_one_does() {
    let world = World::start().await;
    world.register("/own/test", &World::own_selectors()).await;
    let rows = crate::within::eventually("an attestation is in the index", async || {
        let rows = world.json(&["svid", "list"]).await;
        rows.as_array().unwrap().iter().any(|row| row["kind"] == "attestation").then_some(rows)
    })
    .await;
    let id = rows.as_array().unwrap().iter().find(|r| r["kind"] == "attestation").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    world.text(&["prove", &id, "--file", "./p", "--trust-policy", "./trust"]).await;
    let shown = world.json(&["verify", "./p", "--trust-policy", "./trust"]).await;
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
    assert_eq!(world.sekisho(&["verify", "./p", "--trust-policy", "./other"]).await.0, 2);
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_on_disk_prevents_proofs() {
    let world = World::start().await;
    let peer = crate::peers::Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/a").await;
    while world.leaves("issuance").await.len() < 520 {
        let many = (0..100).map(|_| peer.issue(&entry));
        futures_util::future::join_all(many).await.into_iter().for_each(|issued| drop(issued.unwrap()));
    }
    world.text(&["prove", "300", "--file", "./p", "--trust-policy", "./trust"]).await;
    for file in ["tile/entries/000", "tile/entries/001", "tile/0/000", "tile/0/001"] {
        let path = world.path("s/ledger").join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let at = flipped.len() / 2;
        flipped[at] ^= 1;
        // While it runs: a start, and a backup's check, repair data that the write-ahead file still holds.
        std::fs::write(&path, &flipped).unwrap();
        let mut damaged = 0;
        for index in 0..520 {
            damaged += u32::from(is_damaged(&world, index).await);
        }
        assert!(damaged > 0, "{file}: every proof was given");
        std::fs::write(&path, whole).unwrap();
        world.text(&["prove", "300", "--file", "./p"]).await;
    }
}

/// Whether a proof of this leaf is refused because of damage. One that is given verifies.
async fn is_damaged(world: &World, index: u32) -> bool {
    // The damage is in the middle of a tile of 256, so its neighbours are enough.
    if !index.is_multiple_of(32) && !(96..160).contains(&(index % 256)) {
        return false;
    }
    let (code, _, err) = world.sekisho(&["prove", &index.to_string(), "--file", "./damaged"]).await;
    match code {
        0 => {
            assert_eq!(
                world.sekisho(&["verify", "./damaged", "--trust-policy", "./trust"]).await.0,
                0,
                "entry {index}"
            );
            false
        }
        _ => {
            assert!(err.contains("its log says why"), "{err}");
            assert!(world.logged().contains("is damaged on disk"), "{}", world.logged());
            true
        }
    }
}
