//! Attacks by a peer with a good SVID on the sidecar in front of a service, past any sidecar of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_identity::{Bundle, split_chain};
use sekisho_net::{Dialer, ExpectedServer, Identity, TlsConnection, TlsMaterial, TlsSource};
use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use sekisho_sdk::{IdentitySource, agent_channel};
use sekisho_types::{Secret, SpiffeId, TrustDomain};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::faults::Shim;
use crate::http2;
use crate::peers::clock;
use crate::world::{POLICY, Role, TRUST_DOMAIN, World, digest, eventually, free_port, program};

/// A service `ledger` behind its sidecar; the test is the workload `till` and dials it itself.
struct Service {
    sidecar: Role,
    source: IdentitySource,
    inbound: String,
    entries: [String; 2],
    world: World,
}

impl Service {
    async fn open(server_options: &[&str]) -> Self {
        Self::open_for("http1", server_options, &[]).await
    }

    async fn open_for(protocol: &str, server_options: &[&str], environment: &[(String, String)]) -> Self {
        let world = World::with_environment(server_options, environment.to_vec(), environment.to_vec());
        if protocol == "tcp" {
            world.set_policy(&POLICY.replace("\"GET\"", "\"TCP\"").replace("[\"v1\", \"balance\"]", "[]"));
        }
        let till = world.register("/shop/till", &World::own_selectors());
        let ledger = world.register("/shop/ledger", &[format!("unix:sha256:{}", digest(&program("transactions")))]);
        let address = || format!("127.0.0.1:{}", free_port());
        let (inbound, service) = (address(), address());
        let options = ["--protocol", protocol, "--inbound", inbound.as_str(), "--upstream", service.as_str()];
        let environment = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let environment: Vec<_> = environment.chain([("LISTEN", service.as_str())]).collect();
        let sidecar = world.sidecar("ledger", "transactions", &options, &environment);
        sidecar.ready();
        let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
        let source = IdentitySource::of_self(&world.agent_socket(), &trust_domain).unwrap();
        source.ready().await;
        let open = Self { sidecar, source, inbound, entries: [till, ledger], world };
        let end = Instant::now() + Duration::from_secs(20);
        while protocol != "tcp" && !open.get("/v1/balance", "").await.contains(" 200 ") {
            assert!(Instant::now() < end, "no policy reached the sidecar");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        open
    }

    async fn dial(&self, alpn: &[u8]) -> TlsConnection {
        self.dial_as(&self.source.tls, alpn).await
    }

    async fn dial_as(&self, source: &TlsSource, alpn: &[u8]) -> TlsConnection {
        let expected = ExpectedServer::Id(SpiffeId::parse("spiffe://example.org/shop/ledger").unwrap());
        let source = source.clone();
        let dialer = Dialer { source, address: self.inbound.clone(), expected, clock };
        let offered = [alpn];
        dialer.connect(if alpn.is_empty() { &[] } else { &offered }).await.unwrap()
    }

    async fn get(&self, target: &str, headers: &str) -> String {
        let mut connection = self.dial(b"http/1.1").await;
        let request = format!("GET {target} HTTP/1.1\r\nhost: ledger\r\n{headers}connection: close\r\n\r\n");
        let _reset = connection.stream.write_all(request.as_bytes()).await;
        rest(&mut connection.stream).await
    }

    /// The most memory that the sidecar has had, in KiB.
    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.sidecar.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits until a refusal that says this stands with the server.
    fn records(&self, text: &str) {
        eventually(&format!("a record of {text:?}"), || {
            let listed = self.world.json(&["decisions", "--effect", "refusal", "--limit", "1000"]);
            listed.to_string().contains(text).then_some(())
        });
    }
}

/// All that still comes, until the other side closes or resets.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = vec![];
    let _closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_smuggling_is_refused_and_recorded() {
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
        ("/v1/balance#a", ""),
        ("/v1/balance", "connection: content-length\r\n"),
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
        (":path", "/v1/balance"),
        (":unknown", "a"),
        ("content-length", "7"),
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
    service.records("excessive load");
    assert!(service.peak_kib() < 80 * 1024, "{} KiB", service.peak_kib());
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
async fn slow_and_silent_peers_delay_no_other() {
    let service = Service::open(&[]).await;
    let (mut slow, peak) = (vec![], service.peak_kib());
    for _ in 0..50 {
        let mut drips = service.dial(b"http/1.1").await;
        drips.stream.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: l").await.unwrap();
        let mut never_reads = service.dial(b"h2").await;
        never_reads.stream.write_all(&http2::preface()).await.unwrap();
        slow.extend([drips, never_reads, service.dial(b"http/1.1").await]);
    }
    assert!(service.get("/v1/balance", "").await.contains(" 200 "));
    // 150 of them cost little: nothing is kept for who sends or reads nothing.
    let (before, after) = (peak, service.peak_kib());
    assert!(after < before + 32 * 1024, "{before} KiB, then {after}");
    // A head that is not whole in time ends its connection.
    let ended = rest(&mut slow[0].stream).await;
    assert!(!ended.contains(" 200 "), "{ended}");
    assert!(service.get("/v1/balance", "").await.contains(" 200 "));
}

/// How long a request body goes on that has no end.
/// Writes for a while, and says whether it could.
async fn goes_on(connection: &mut TlsConnection, chunk: &[u8]) -> bool {
    for _ in 0..5 {
        if connection.stream.write_all(chunk).await.is_err() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    true
}

/// Writes until that fails.
async fn ends(connection: &mut TlsConnection, chunk: &[u8]) {
    let end = Instant::now() + Duration::from_secs(20);
    while goes_on(connection, chunk).await {
        assert!(Instant::now() < end, "a connection outlived its SVID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_when_its_peers_svid_expires() {
    let shim = Shim::new();
    let service = Service::open_for("http1", &["--x509-ttl", "20s"], &shim.environment()).await;
    // On connections that show no newer SVID.
    let (mut over_http1, mut over_h2) = (service.dial(b"http/1.1").await, service.dial(b"h2").await);
    let head = b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\ncontent-length: 1000000\r\n\r\n";
    over_http1.stream.write_all(head).await.unwrap();
    let plain = [(":method", "GET"), (":scheme", "https"), (":path", "/v1/balance"), (":authority", "ledger")];
    let head = [http2::preface(), http2::headers(1, &plain, false)].concat();
    over_h2.stream.write_all(&head).await.unwrap();
    let frame = http2::data(1, b"a");
    // In steps that are shorter than what a part of a request may take.
    for seconds in [4, 8, 12] {
        if seconds < 12 {
            shim.run_on(seconds, seconds);
        } else {
            // Past half of the life of the SVIDs that they began with: those of both ends are renewed.
            shim.renews(&service.world, seconds, &[&service.entries[0], &service.entries[1]]);
        }
        let lives = tokio::join!(goes_on(&mut over_http1, b"a"), goes_on(&mut over_h2, &frame));
        assert_eq!(lives, (true, true), "their SVIDs are good for some seconds more");
    }
    for seconds in [16, 20, 24] {
        shim.run_on(seconds, seconds);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    tokio::join!(ends(&mut over_http1, b"a"), ends(&mut over_h2, &frame));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_ends_when_its_peers_svid_expires() {
    let shim = Shim::new();
    let service = Service::open_for("tcp", &["--x509-ttl", "20s"], &shim.environment()).await;
    let (began, mut tunnel) = (Instant::now(), service.dial(b"").await);
    // Before the policy has come, one is closed at once.
    while !answers(&mut tunnel).await {
        assert!(began.elapsed() < Duration::from_secs(20), "no policy reached the sidecar");
        tokio::time::sleep(Duration::from_millis(100)).await;
        tunnel = service.dial(b"").await;
    }
    // Past half of the life of the SVIDs that it began with: those of both ends are renewed.
    shim.renews(&service.world, 12, &[&service.entries[0], &service.entries[1]]);
    for _ in 0..10 {
        assert!(answers(&mut tunnel).await, "its SVID is good for some seconds more");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shim.run_on(21, 21);
    let end = Instant::now() + Duration::from_secs(20);
    while answers(&mut tunnel).await {
        assert!(Instant::now() < end, "a tunnel outlived its SVID");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the service still answers through a tunnel.
async fn answers(tunnel: &mut TlsConnection) -> bool {
    let asked = tunnel.stream.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n\r\n").await.is_ok();
    asked && tunnel.stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_are_refused_and_recorded() {
    let service = Service::open(&[]).await;
    let plain = [(":method", "GET"), (":scheme", "https"), (":path", "/v1/balance"), (":authority", "ledger")];
    let forged = [("x-sekisho-peer-id", "spiffe://example.org/admin")];
    let mut connection = service.dial(b"h2").await;
    let request = [http2::preface(), http2::headers(1, &plain, false), http2::headers(1, &forged, true)].concat();
    connection.stream.write_all(&request).await.unwrap();
    // Refused as the caller's fault, unless the service answered before the trailers came.
    let answered = http2::answer(&mut connection.stream).await;
    assert!(matches!(answered, http2::Answer::Status(200 | 400)), "{answered:?}");
    service.records("trailers of a request do not pass");
    let mut connection = service.dial(b"http/1.1").await;
    let chunks = "2\r\nab\r\n0\r\nx-sekisho-peer-id: spiffe://example.org/admin\r\n\r\n";
    let head = "GET /v1/balance HTTP/1.1\r\nhost: ledger\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    connection.stream.write_all(format!("{head}{chunks}").as_bytes()).await.unwrap();
    let answer = rest(&mut connection.stream).await;
    assert!(!answer.contains("example.org/admin"), "{answer}");
    // Not the service's fault.
    assert!(!answer.starts_with("HTTP/1.1 502"), "{answer}");
}

/// One of the SVIDs that this process has.
async fn source_of(world: &World, id: &str) -> TlsSource {
    let mut client = SpiffeWorkloadApiClient::new(agent_channel(&world.agent_socket()));
    for _ in 0..200 {
        let mut messages = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
        let svids = messages.message().await.unwrap().unwrap().svids;
        let Some(svid) = svids.into_iter().find(|svid| svid.spiffe_id == id) else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let mut bundle = Bundle::empty(TrustDomain::parse(TRUST_DOMAIN).unwrap());
        for authority in split_chain(&svid.bundle).unwrap() {
            bundle.add_x509(authority).unwrap();
        }
        let chain = split_chain(&svid.x509_svid).unwrap();
        let identity = Identity { chain, key: Secret::new(svid.x509_svid_key) };
        return TlsSource::new(TlsMaterial::new(Some(&identity), Arc::new(bundle)).unwrap());
    }
    panic!("no SVID of {id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l9_unread_answers_delay_no_other_peer() {
    let service = Service::open(&[]).await;
    let (till, other) = ("spiffe://example.org/shop/till", "spiffe://example.org/shop/other");
    service.world.register("/shop/other", &World::own_selectors());
    let either =
        POLICY.replace(&format!("spiffe_id == \"{till}\""), &format!("spiffe_id in [\"{till}\", \"{other}\"]"));
    assert_ne!(either, POLICY);
    service.world.set_policy(&either);
    let (greedy, other) = (source_of(&service.world, till).await, source_of(&service.world, other).await);
    let ask = async || {
        let mut connection = service.dial_as(&other, b"http/1.1").await;
        let request = b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n";
        connection.stream.write_all(request).await.unwrap();
        rest(&mut connection.stream).await
    };
    let end = Instant::now() + Duration::from_secs(20);
    while !ask().await.contains(" 200 ") {
        assert!(Instant::now() < end, "the new policy did not reach the sidecar");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let plain = [(":method", "GET"), (":scheme", "https"), (":path", "/v1/balance"), (":authority", "ledger")];
    let mut open = vec![];
    for _ in 0..2 {
        let mut connection = service.dial_as(&greedy, b"h2").await;
        // Each answer keeps its connection to the service, since none of it may be sent.
        let requests = (0..1000).map(|number| http2::headers(number * 2 + 1, &plain, true));
        let sent: Vec<u8> = [http2::preface(), http2::no_window()].into_iter().chain(requests).flatten().collect();
        connection.stream.write_all(&sent).await.unwrap();
        open.push(connection);
    }
    assert_eq!(http2::answer(&mut open[0].stream).await, http2::Answer::Status(200));
    for _ in 0..20 {
        // One that had to wait would be answered by 503.
        let answer = ask().await;
        assert!(answer.contains(" 200 "), "{answer}");
    }
    drop(open);
    for _ in 0..20 {
        assert!(ask().await.contains(" 200 "), "the streams ended all at once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_after_a_handshake_leaks_nothing() {
    let service = Service::open(&[]).await;
    let noise: Vec<u8> = (0..50_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", service.sidecar.pid())).unwrap().count();
    let mut before = None;
    for round in 0..40 {
        for alpn in [&b"http/1.1"[..], b"h2"] {
            let mut connection = service.dial(alpn).await;
            let preface = if alpn == b"h2" { http2::preface() } else { vec![] };
            let _reset = connection.stream.write_all(&[&preface[..], &noise].concat()).await;
            drop(connection);
        }
        let mut plain = tokio::net::TcpStream::connect(&service.inbound).await.unwrap();
        let _reset = plain.write_all(&noise).await;
        if round == 3 {
            before = Some((open(), service.peak_kib()));
        }
    }
    let (descriptors, peak) = before.unwrap();
    eventually("what was opened is closed", || (open() <= descriptors + 2).then_some(()));
    assert!(service.peak_kib() < peak + 16 * 1024, "{peak} KiB, then {}", service.peak_kib());
    assert!(service.get("/v1/balance", "").await.contains(" 200 "));
    service.records("handshake");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_another_process_gets_nothing() {
    let world = World::start();
    world.register("/shop/till", &World::own_selectors());
    world.register("/shop/ledger", &[format!("unix:sha256:{}", digest(&program("transactions")))]);
    // The test listens where the workload should, with the workload elsewhere.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (upstream, service) = (other.local_addr().unwrap().to_string(), format!("127.0.0.1:{}", free_port()));
    let inbound = format!("127.0.0.1:{}", free_port());
    let options = ["--inbound", inbound.as_str(), "--upstream", upstream.as_str()];
    let sidecar = world.sidecar("ledger", "transactions", &options, &[("LISTEN", &service)]);
    sidecar.ready();
    let source = IdentitySource::of_self(&world.agent_socket(), &TrustDomain::parse(TRUST_DOMAIN).unwrap()).unwrap();
    source.ready().await;
    let service = Service { sidecar, source, inbound, entries: Default::default(), world };
    let end = Instant::now() + Duration::from_secs(20);
    while !service.get("/v1/balance", "").await.contains(" 502 ") {
        assert!(Instant::now() < end, "no policy reached the sidecar");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    service.records("another process listens there");
    other.set_nonblocking(true).unwrap();
    while let Ok((mut stream, _)) = other.accept() {
        let mut said = String::new();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let _closed = std::io::Read::read_to_string(&mut stream, &mut said);
        assert_eq!(said, "", "it received a request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l10_a_sidecar_offers_no_resumption() {
    let service = Service::open(&[]).await;
    let script = format!("(sleep 1) | openssl s_client -connect {} -tls1_3 -alpn h2 2>&1 || true", service.inbound);
    let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("New Session Ticket"), "{text}");
    // Nor to a peer with a good SVID.
    let peer = crate::peers::Attested::new(&service.world).await;
    let identity = peer.identity_of(&peer.entry(&service.world, "/own/resumes").await).await;
    let (leaf, key) = (service.world.path("leaf.der"), service.world.path("key.der"));
    std::fs::write(&leaf, &identity.chain[0]).unwrap();
    std::fs::write(&key, identity.key.expose()).unwrap();
    let script = format!(
        "(printf 'GET /v1/balance HTTP/1.1\\r\\nhost: ledger\\r\\n\\r\\n'; sleep 1) | openssl s_client -connect {} \
         -tls1_3 -alpn http/1.1 -cert {} -certform DER \
         -key {} -keyform DER -ign_eof 2>&1 & sleep 3; kill %1 2>/dev/null; true",
        service.inbound,
        leaf.display(),
        key.display()
    );
    let output = std::process::Command::new("timeout").args(["5", "bash", "-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("HTTP/1.1 403") && !text.contains("New Session Ticket"), "{text}");
    let refused = eventually("the stranger is recorded", || {
        let listed = service.world.json(&["decisions", "--effect", "refusal"]);
        listed.as_array()?.iter().find(|row| row.to_string().contains("handshake")).cloned()
    });
    assert!(refused["id"].as_str().unwrap().starts_with("ref_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l9_failed_handshakes_are_counted_and_bounded() {
    let service = Service::open(&[]).await;
    // A refusal of a peer that is known, before and while strangers come.
    let known = async || service.get("/v1/../known", "").await;
    assert!(known().await.contains(" 400 "));
    let began = Instant::now();
    let strangers = 1500u64;
    for number in 0..strangers {
        let mut plain = tokio::net::TcpStream::connect(&service.inbound).await.unwrap();
        plain.write_all(format!("no handshake {number}\r\n").as_bytes()).await.unwrap();
        let _reset = rest(&mut plain).await;
    }
    assert!(known().await.contains(" 400 "));
    let rows = || {
        let listed = service.world.json(&["decisions", "--effect", "refusal", "--limit", "1000"]);
        listed.as_array().unwrap().iter().map(|row| row.to_string()).collect::<Vec<_>>()
    };
    let of = |what: &str| rows().iter().filter(|row| row.contains(what)).count();
    eventually("the strangers are counted", || (of("handshake") > 0).then_some(()));
    eventually("both refusals of the known peer are on record", || (of("/shop/till") >= 2).then_some(()));
    // One record for each reason in each window of five seconds and more.
    let allowed = 2 * (1 + usize::try_from(began.elapsed().as_secs() / 5).unwrap());
    assert!((1..=allowed).contains(&of("handshake")), "{} records of {strangers} strangers", of("handshake"));
}
