//! The log as its operators read it: whether they alone do, and whether it only grew.

use sekisho_ledger::NoteSigner;
use sekisho_types::SignatureAlgorithm;

use crate::peers::Attested;
use crate::published::get;
use crate::within::World;

#[tokio::test(start_paused = true)]
async fn an_unpublished_log_is_for_operators_only() {
    let world = World::start().await;
    for path in ["/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1"] {
        assert_eq!(get(&world, path).await.0, 403, "{path}");
        let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let said = world.raw("s/api.sock", &ask).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{path}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_saved_checkpoint_proves_that_the_log_grew() {
    let world = World::start().await;
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/a").await;
    peer.issue(&entry).await.unwrap();
    std::fs::copy(world.path("s/ledger/checkpoint"), world.path("kept")).unwrap();
    world.text(&["prove", "0", "--file", "./old-proof", "--trust-policy", "./trust"]).await;
    let mut last = 0;
    for _ in 0..5 {
        last = peer.issue(&entry).await.unwrap().1;
    }
    let policy = ["--trust-policy", "./trust", "--consistent-with"];
    let verify = async |file: &str, held: &str| {
        world.sekisho(&[&["verify", file], &policy[..], &[held, "-o", "json"]].concat()).await
    };
    // Alone, and beside a proof; what is kept may be a checkpoint or an older proof file. A checkpoint follows its
    // leaves within a moment: a proof of the last one waits for it.
    world.text(&["prove", &last.to_string(), "--file", "./newest"]).await;
    world.text(&["prove", "--consistent-with", "./kept", "--file", "./grown"]).await;
    for (file, held) in [("./grown", "./kept"), ("./p", "./kept"), ("./p2", "./old-proof")] {
        if file != "./grown" {
            world.text(&["prove", &last.to_string(), "--file", file, "--consistent-with", held]).await;
        }
        let (code, out, err) = verify(file, held).await;
        assert!(code == 0 && out.contains("consistent_with_size"), "{file} {held}: {out}{err}");
    }
    // The other way round: the proof of before against a later one.
    world.text(&["prove", &last.to_string(), "--file", "./later", "--consistent-with", "./old-proof"]).await;
    std::fs::copy(world.path("later.consistency"), world.path("old-proof.consistency")).unwrap();
    let (code, _, err) = verify("./old-proof", "./later").await;
    assert_eq!(code, 0, "{err}");
    std::fs::remove_file(world.path("p.consistency")).unwrap();
    let (code, _, err) = verify("./p", "./kept").await;
    assert!(code == 2 && err.contains("--consistent-with <file>"), "{code} {err}");
    // A log that signed another history: the same size, another root.
    let note = std::fs::read_to_string(world.path("kept")).unwrap();
    let (origin, size) = (note.lines().next().unwrap(), note.lines().nth(1).unwrap());
    let key = sekisho_keys::load(&world.path("s/keys/log.key"), SignatureAlgorithm::Ed25519).unwrap();
    let forked = sekisho_ledger::Checkpoint { origin: origin.to_owned(), size: size.parse().unwrap(), root: [7; 32] };
    let forked = NoteSigner::new(origin, &key).unwrap().sign(&forked.to_string()).unwrap();
    std::fs::write(world.path("forked"), forked).unwrap();
    for file in ["./grown", "./p2"] {
        let (code, _, err) = verify(file, "./forked").await;
        assert_eq!(code, 2, "{file}: {err}");
    }
    let (code, _, err) = verify("./grown", "./forked").await;
    assert!(code == 2 && err.contains("is not the beginning of the newer one"), "{err}");
}
