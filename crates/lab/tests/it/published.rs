//! The log as others read it: tiles over HTTPS, consistency between checkpoints, and what is never shown.

use http_body_util::BodyExt;
use sekisho_ledger::{Bundle, Frontier, TrustPolicy, bundle_path, leaf_hash, tile_path};
use tonic::body::Body;
use tonic::codegen::http;
use tower::ServiceExt;

use crate::peers::{Attested, Place, stranger};
use crate::world::World;

fn request(path: &str) -> http::Request<Body> {
    http::Request::builder().uri(format!("https://log.example{path}")).body(Body::empty()).unwrap()
}

/// The answer to an anonymous request: status, type, caching, body.
pub async fn get(world: &impl Place, path: &str) -> (u16, String, String, Vec<u8>) {
    let answer = stranger(world).oneshot(request(path)).await.unwrap();
    let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (status, kind, caching) = (answer.status().as_u16(), header("content-type"), header("cache-control"));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, kind, caching, body.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_log_is_readable_without_openings() {
    let world = World::with(&["--publish-log"]);
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/secret-name").await;
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
