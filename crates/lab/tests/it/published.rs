//! The log as others read it: tiles over HTTPS, consistency between checkpoints, and what is never shown.

use http_body_util::BodyExt;
use sekisho_ledger::{Bundle, Frontier, NoteSigner, TrustPolicy, bundle_path, leaf_hash, tile_path};
use sekisho_types::SignatureAlgorithm;
use tonic::body::Body;
use tonic::codegen::http;
use tower::ServiceExt;

use crate::peers::{Attested, stranger};
use crate::world::{World, raw, unix};

fn request(path: &str) -> http::Request<Body> {
    http::Request::builder().uri(format!("https://log.example{path}")).body(Body::empty()).unwrap()
}

/// What anybody gets who asks for this: status, type, caching, body.
pub async fn get(world: &World, path: &str) -> (u16, String, String, Vec<u8>) {
    let answer = stranger(world).oneshot(request(path)).await.unwrap();
    let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (status, kind, caching) = (answer.status().as_u16(), header("content-type"), header("cache-control"));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, kind, caching, body.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_reads_the_published_log_and_nothing_that_opens_it() {
    let world = World::with(&["--publish-log"]);
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/secret-name");
    while world.leaves("issuance").len() < 300 {
        let many = (0..50).map(|_| peer.issue(&entry));
        futures_util::future::join_all(many).await.into_iter().for_each(|issued| drop(issued.unwrap()));
    }
    let trust = std::fs::read_to_string(world.path("s/trust-policy")).unwrap();
    let (status, kind, caching, note) = get(&world, "/checkpoint").await;
    assert_eq!((status, kind.as_str(), caching.as_str()), (200, "text/plain; charset=utf-8", "no-cache"));
    let checkpoint = TrustPolicy::parse(&trust).unwrap().verify(&String::from_utf8(note).unwrap()).unwrap();
    let mut tree = Frontier::default();
    for number in 0..checkpoint.size.div_ceil(256) {
        let at = bundle_path(number, checkpoint.size).unwrap();
        let (status, kind, caching, bundle) = get(&world, &format!("/{}", at.path)).await;
        assert_eq!((status, kind.as_str()), (200, "application/octet-stream"), "{}", at.path);
        assert!(caching.contains("immutable") && caching.contains("public"), "{caching}");
        let text = String::from_utf8_lossy(&bundle).into_owned();
        assert!(!text.contains("secret-name") && !text.contains("\"nonce\""), "an opening was shown");
        let leaves = Bundle::entries(&bundle).unwrap();
        assert_eq!(leaves.len() as u64, at.width);
        let hashes = get(&world, &format!("/{}", tile_path(0, number, checkpoint.size).unwrap().path)).await;
        let expected: Vec<u8> = leaves.iter().flat_map(|leaf| leaf_hash(leaf)).collect();
        assert_eq!((hashes.0, hashes.3), (200, expected));
        leaves.iter().for_each(|leaf| tree.push(leaf_hash(leaf), |_, _, _| {}));
    }
    assert_eq!(tree.root(), checkpoint.root);
    // A partial tile of an earlier checkpoint is a part of what is there.
    let (full, part) = (get(&world, "/tile/0/000").await, get(&world, "/tile/0/000.p/7").await);
    assert_eq!((part.0, &part.3[..]), (200, &full.3[..7 * 32]));
    for path in [
        "/tile/entries/999",
        "/tile/0/000.p/256",
        "/tile/0/0",
        "/tile/9/000",
        "/tile/side/000",
        "/side/000",
        "/tile/entries/..%2f..%2fside/000",
        "/wal",
        "/keys/log.key",
        "/tile/0/x000/000",
        "/tile/entries/x999/x999/x999/x999/x999/999",
    ] {
        let (status, _, _, body) = get(&world, path).await;
        assert!(status == 404 || status == 403, "{path}: {status} {}", String::from_utf8_lossy(&body));
    }
    readers_that_do_not_read(&world).await;
}

/// What waits for them is bounded: beyond it others are asked to come again, and nothing else suffers.
async fn readers_that_do_not_read(world: &World) {
    let mut held = vec![];
    let mut refused = false;
    for _ in 0..40 {
        let channel = stranger(world);
        for _ in 0..80 {
            let answer = channel.clone().oneshot(request("/tile/entries/000")).await.unwrap();
            refused |= answer.status().as_u16() == 503;
            held.push(answer);
        }
        if refused {
            break;
        }
    }
    assert!(refused, "{} answers wait, and one more was begun", held.len());
    world.json(&["entry", "list"]);
    drop(held);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while get(world, "/tile/entries/000").await.0 != 200 {
        assert!(std::time::Instant::now() < end, "what waited was not let go");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_shown_to_operators_only_unless_it_is_published() {
    let world = World::start();
    for path in ["/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1"] {
        assert_eq!(get(&world, path).await.0, 403, "{path}");
        let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let said = raw(&mut unix(&world.path("s/api.sock")), &ask);
        assert!(said.starts_with("HTTP/1.1 200"), "{path}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_checkpoint_shows_whether_the_log_only_grew() {
    let world = World::start();
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/a");
    peer.issue(&entry).await.unwrap();
    std::fs::copy(world.path("s/ledger/checkpoint"), world.path("kept")).unwrap();
    world.text(&["prove", "0", "--file", "old-proof", "--trust-policy", "trust"]);
    let mut last = 0;
    for _ in 0..5 {
        last = peer.issue(&entry).await.unwrap().1;
    }
    let policy = ["--trust-policy", "trust", "--consistent-with"];
    let verify =
        |file: &str, held: &str| world.sekisho(&[&["verify", file], &policy[..], &[held, "-o", "json"]].concat());
    // Alone, and beside a proof; what is kept may be a checkpoint or an older proof file. A checkpoint follows its leaves
    // within a moment: a proof of the last one waits for it.
    world.text(&["prove", &last.to_string(), "--file", "newest"]);
    world.text(&["prove", "--consistent-with", "kept", "--file", "grown"]);
    for (file, held) in [("grown", "kept"), ("p", "kept"), ("p2", "old-proof")] {
        if file != "grown" {
            world.text(&["prove", &last.to_string(), "--file", file, "--consistent-with", held]);
        }
        let (code, out, err) = verify(file, held);
        assert!(code == 0 && out.contains("consistent_with_size"), "{file} {held}: {out}{err}");
    }
    // The other way round: the proof of before against a later one.
    world.text(&["prove", &last.to_string(), "--file", "later", "--consistent-with", "old-proof"]);
    std::fs::copy(world.path("later.consistency"), world.path("old-proof.consistency")).unwrap();
    let (code, _, err) = verify("old-proof", "later");
    assert_eq!(code, 0, "{err}");
    std::fs::remove_file(world.path("p.consistency")).unwrap();
    let (code, _, err) = verify("p", "kept");
    assert!(code == 2 && err.contains("--consistent-with <file>"), "{code} {err}");
    // A log that signed another history: the same size, another root.
    let note = std::fs::read_to_string(world.path("kept")).unwrap();
    let (origin, size) = (note.lines().next().unwrap(), note.lines().nth(1).unwrap());
    let key = sekisho_keys::load(&world.path("s/keys/log.key"), SignatureAlgorithm::Ed25519).unwrap();
    let forked = sekisho_ledger::Checkpoint { origin: origin.to_owned(), size: size.parse().unwrap(), root: [7; 32] };
    let forked = NoteSigner::new(origin, &key).unwrap().sign(&forked.to_string()).unwrap();
    std::fs::write(world.path("forked"), forked).unwrap();
    for file in ["grown", "p2"] {
        let (code, _, err) = verify(file, "forked");
        assert_eq!(code, 2, "{file}: {err}");
    }
    let (code, _, err) = verify("grown", "forked");
    assert!(code == 2 && err.contains("is not the beginning of the newer one"), "{err}");
}
