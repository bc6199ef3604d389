//! Attacks by a peer with a good SVID on the sidecar in front of a service, past any sidecar of its own.

use std::time::{Duration, Instant};

use sekisho_net::{Dialer, ExpectedServer, TlsConnection};
use sekisho_sdk::IdentitySource;
use sekisho_types::{SpiffeId, TrustDomain};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::http2;
use crate::peers::clock;
use crate::world::{Role, TRUST_DOMAIN, World, digest, eventually, free_port, program};

/// A service `ledger` behind its sidecar; the test is the workload `till` and dials it itself.
struct Service {
    sidecar: Role,
    source: IdentitySource,
    inbound: String,
    world: World,
}

impl Service {
    async fn open(server_options: &[&str]) -> Self {
        let world = World::with(server_options);
        world.register("/shop/till", &World::own_selectors());
        world.register("/shop/ledger", &[format!("unix:sha256:{}", digest(&program("transactions")))]);
        let address = || format!("127.0.0.1:{}", free_port());
        let (inbound, service) = (address(), address());
        let options = ["--inbound", inbound.as_str(), "--upstream", service.as_str()];
        let sidecar = world.sidecar("ledger", "transactions", &options, &[("LISTEN", &service)]);
        sidecar.ready();
        let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
        let source = IdentitySource::of_self(&world.agent_socket(), &trust_domain).unwrap();
        source.ready().await;
        let open = Self { sidecar, source, inbound, world };
        let end = Instant::now() + Duration::from_secs(20);
        while !open.get("/v1/balance", "").await.contains(" 200 ") {
            assert!(Instant::now() < end, "no policy reached the sidecar");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        open
    }

    async fn dial(&self, alpn: &[u8]) -> TlsConnection {
        let expected = ExpectedServer::Id(SpiffeId::parse("spiffe://example.org/shop/ledger").unwrap());
        let source = self.source.tls.clone();
        let dialer = Dialer { source, address: self.inbound.clone(), expected, clock };
        dialer.connect(&[alpn]).await.unwrap()
    }

    async fn get(&self, target: &str, headers: &str) -> String {
        let mut connection = self.dial(b"http/1.1").await;
        let request = format!("GET {target} HTTP/1.1\r\nhost: ledger\r\n{headers}connection: close\r\n\r\n");
        let _reset = connection.stream.write_all(request.as_bytes()).await;
        rest(&mut connection.stream).await
    }

    fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.sidecar.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// All that still comes, until the other side closes or resets.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = vec![];
    let _closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tricks_over_http1_are_refused_by_the_service_s_own_sidecar_and_recorded() {
    let service = Service::open(&[]).await;
    for (target, headers) in [
        ("/v1/../v1/balance", ""),
        ("/v1//balance", ""),
        ("/v1/%2e%2e/v1/balance", ""),
        ("/v1%2fbalance", ""),
        ("/v1/balance;a=b", ""),
        ("http://other/v1/balance", ""),
        ("/v1/balance", "x-sekisho-peer-id: spiffe://example.org/admin\r\n"),
        ("/v1/balance", "x_sekisho_peer_id: spiffe://example.org/admin\r\n"),
        ("/v1/balance", "x-forwarded-client-cert: By=a\r\n"),
        ("/v1/balance", "host: other\r\n"),
        ("/v1/balance", "transfer-encoding: gzip, chunked\r\n"),
        ("/v1/balance", "content-length: 3\r\ntransfer-encoding: chunked\r\n"),
        ("/v1/balance", "content-length: 3\r\ncontent-length: 4\r\n"),
        ("/v1/balance", "a: b\r\n folded: c\r\n"),
        ("/v1/balance", "a: b\nc: d\r\n"),
        ("/v1/balance", "a : b\r\n"),
        ("/v1/balance", "upgrade: websocket\r\n"),
    ] {
        let answer = service.get(target, headers).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target} {headers:?}: {answer}");
    }
    assert!(service.get("/v1/balance", "").await.contains(" 200 "));
    let refusals = eventually("refusals reach the server", || {
        let listed = service.world.json(&["decisions", "--effect", "refusal"]);
        Some(listed.as_array()?.len()).filter(|count| *count >= 10)
    });
    assert!(refusals >= 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_http2_is_refused_and_floods_are_cut() {
    let service = Service::open(&[]).await;
    let plain = [(":method", "GET"), (":scheme", "https"), (":path", "/v1/balance"), (":authority", "ledger")];
    let ask = async |headers: &[(&str, &str)]| {
        let mut connection = service.dial(b"h2").await;
        let request = [http2::preface(), http2::headers(1, headers, true)].concat();
        connection.stream.write_all(&request).await.unwrap();
        http2::answer(&mut connection.stream).await
    };
    assert_eq!(ask(&plain).await, http2::Answer::Status(200));
    for extra in [
        (":path", "/v1/other"),
        (":unknown", "a"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        ("Upper", "case"),
        ("host", "other"),
        ("x-sekisho-peer-id", "spiffe://example.org/admin"),
        ("a", "b\r\nc: d"),
    ] {
        let answer = ask(&[&plain[..], &[extra]].concat()).await;
        assert_ne!(answer, http2::Answer::Status(200), "{extra:?}");
    }
    let late =
        [("a", "b"), (":method", "GET"), (":scheme", "https"), (":path", "/v1/balance"), (":authority", "ledger")];
    assert_ne!(ask(&late).await, http2::Answer::Status(200), "pseudo-headers after others");

    // CVE-2023-45288: a head that never ends. CVE-2023-44487: requests that are taken back at once.
    let endless = (0..100_000).map(|_| http2::continuation(1, &[0u8; 16_000]));
    let endless = std::iter::once(http2::open_headers(1, &plain)).chain(endless);
    assert!(flood(&service, endless).await, "a head without end was read to its end");
    let taken_back =
        (0..200_000u32).map(|n| [http2::headers(2 * n + 1, &plain, false), http2::reset(2 * n + 1)].concat());
    assert!(flood(&service, taken_back).await, "requests taken back were counted by nobody");
    assert!(service.rss_kib() < 80 * 1024, "{} KiB", service.rss_kib());
    assert!(service.get("/v1/balance", "").await.contains(" 200 "));
}

/// Whether the other side closes before all is sent.
async fn flood(service: &Service, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    let mut connection = service.dial(b"h2").await;
    connection.stream.write_all(&http2::preface()).await.unwrap();
    let (mut read, mut write) = tokio::io::split(connection.stream);
    let closed = tokio::spawn(async move {
        let mut sink = vec![0u8; 65_536];
        while read.read(&mut sink).await.is_ok_and(|count| count > 0) {}
    });
    for frame in frames {
        let sent = tokio::time::timeout(Duration::from_secs(10), write.write_all(&frame)).await;
        if !matches!(sent, Ok(Ok(()))) || closed.is_finished() {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_writers_and_silent_peers_keep_nobody_waiting() {
    let service = Service::open(&[]).await;
    let mut slow = vec![];
    for _ in 0..50 {
        let mut drips = service.dial(b"http/1.1").await;
        drips.stream.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: l").await.unwrap();
        let mut never_reads = service.dial(b"h2").await;
        never_reads.stream.write_all(&http2::preface()).await.unwrap();
        slow.extend([drips, never_reads, service.dial(b"http/1.1").await]);
    }
    assert!(service.get("/v1/balance", "").await.contains(" 200 "));
    // A head that is not whole in time ends its connection.
    let ended = rest(&mut slow[0].stream).await;
    assert!(!ended.contains(" 200 "), "{ended}");
    assert!(service.get("/v1/balance", "").await.contains(" 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_with_the_svid_of_the_peer_that_made_it() {
    let service = Service::open(&["--x509-ttl-seconds", "20"]).await;
    let mut connection = service.dial(b"http/1.1").await;
    // A body that goes on for ever, on a connection whose SVID does not.
    let head = b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.stream.write_all(head).await.unwrap();
    let began = Instant::now();
    while connection.stream.write_all(b"1\r\na\r\n").await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(45), "a connection outlived its SVID");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(service.get("/v1/balance", "").await.contains(" 200 "), "a new connection shows the new SVID");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_is_swapped_under_load_and_no_request_fails() {
    let service = Service::open(&["--ca-ttl-seconds", "60", "--x509-ttl-seconds", "20"]).await;
    let authority = || service.world.text(&["bundle", "show", "--form", "fingerprint"]);
    let (first, began) = (authority(), Instant::now());
    let mut asked = 0;
    while began.elapsed() < Duration::from_secs(75) {
        let answer = service.get("/v1/balance", "").await;
        assert!(answer.contains(" 200 "), "request {asked}: {answer}");
        asked += 1;
    }
    let (before, after) = (first.lines().next().unwrap(), authority());
    assert!(!after.contains(before) || after.lines().next() != Some(before), "the authority was not replaced");
    assert!(asked > 500, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l10_a_sidecar_offers_no_resumption_and_takes_no_stranger() {
    let service = Service::open(&[]).await;
    let script = format!("(sleep 1) | openssl s_client -connect {} -tls1_3 -alpn h2 2>&1 || true", service.inbound);
    let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("New Session Ticket"), "{text}");
    let refused = eventually("the stranger is recorded", || {
        let listed = service.world.json(&["decisions", "--effect", "refusal"]);
        listed.as_array()?.iter().find(|row| row.to_string().contains("handshake")).cloned()
    });
    assert!(refused["id"].as_str().unwrap().starts_with("ref_"));
}
