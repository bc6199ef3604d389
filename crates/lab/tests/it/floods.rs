//! Floods and garbage on the ports of server and agent: other callers do not wait, no memory is kept, nothing crashes.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::pending;
use sekisho_net::{Dialer, ExpectedServer, TlsMaterial, TlsSource};
use sekisho_types::{Digest, SpiffeId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::http2;
use crate::peers::{Attested, clock};
use crate::world::{Role, World, eventually, rss_mb};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Writes frames until the other side has had enough: whether it had.
async fn is_cut(stream: Box<dyn Stream>, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    let (mut read, mut write) = tokio::io::split(stream);
    let closed = tokio::spawn(async move {
        let mut sink = vec![0u8; 65_536];
        while read.read(&mut sink).await.is_ok_and(|count| count > 0) {}
    });
    for frame in std::iter::once(http2::preface()).chain(frames) {
        let sent = tokio::time::timeout(Duration::from_secs(30), write.write_all(&frame)).await;
        if sent.expect("the port neither reads nor closes").is_err() || closed.is_finished() {
            return true;
        }
    }
    false
}

struct Ports {
    world: World,
    peer: Attested,
}

impl Ports {
    async fn open() -> Self {
        let world = World::start();
        let peer = Attested::new(&world).await;
        Self { world, peer }
    }

    /// The server over TLS as an agent, and the agent's socket.
    async fn dial(&self, port: &str, alpn: &[u8]) -> Box<dyn Stream> {
        if port == "agent" {
            return Box::new(UnixStream::connect(self.world.agent_socket()).await.unwrap());
        }
        let fingerprint = self.world.fingerprint.get().unwrap().lines().next().unwrap();
        let id = SpiffeId::parse("spiffe://example.org/spire/server").unwrap();
        let bundle = sekisho_identity::Bundle::empty(id.trust_domain());
        let source = TlsSource::new(TlsMaterial::new(Some(&self.peer.identity), bundle.into()).unwrap());
        let expected = ExpectedServer::Fingerprint { id, authorities: vec![Digest::parse(fingerprint).unwrap()] };
        let dialer = Dialer { source, address: self.world.address.clone(), expected, clock };
        Box::new(dialer.connect(&[alpn]).await.unwrap().stream)
    }

    fn role(&self, port: &str) -> &Role {
        let role = if port == "agent" { &self.world.agent } else { &self.world.server };
        role.as_ref().unwrap()
    }

    fn descriptors(&self, port: &str) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.role(port).pid())).unwrap().count()
    }

    /// The most memory that the role has had, in KiB.
    fn peak_kib(&self, port: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.role(port).pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn serves(&self) {
        assert!(!self.world.json(&["agents", "list"]).as_array().unwrap().is_empty());
        self.world.json(&["why", "identity", "--selectors", "unix:uid:1"]);
    }
}

const CALL: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "https"), (":path", "/grpc.health.v1.Health/Check"), (":authority", "sekisho")];

/// CVE-2023-44487, CVE-2023-45288, CVE-2021-44716.
#[tokio::test(flavor = "multi_thread")]
async fn law_l9_floods_of_http2_are_cut_on_every_port() {
    let ports = Ports::open().await;
    for port in ["server", "agent"] {
        let before = ports.peak_kib(port);
        let endless = (0..100_000).map(|_| http2::continuation(1, &[0u8; 16_000]));
        let endless = std::iter::once(http2::open_headers(1, &CALL)).chain(endless);
        assert!(is_cut(ports.dial(port, b"h2").await, endless).await, "{port}: a head without end was read to its end");
        let taken_back =
            (0..200_000u32).map(|n| [http2::headers(2 * n + 1, &CALL, false), http2::reset(2 * n + 1)].concat());
        assert!(is_cut(ports.dial(port, b"h2").await, taken_back).await, "{port}: requests taken back were free");
        // One gibibyte of header lines over HTTP/1.1.
        let mut stream = ports.dial(port, b"http/1.1").await;
        let line = format!("x-filler: {}\r\n", "a".repeat(16_000));
        let _cut = stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n").await;
        let mut sent = 0usize;
        while sent < 1024 * 1024 * 1024 {
            let written = tokio::time::timeout(Duration::from_secs(30), stream.write_all(line.as_bytes())).await;
            if written.expect("the port neither reads nor closes").is_err() {
                break;
            }
            sent += line.len();
        }
        assert!(sent < 16 * 1024 * 1024, "{port}: {sent} bytes of head were taken");
        let peak = ports.peak_kib(port);
        assert!(peak < before + 32 * 1024, "{port}: {before} KiB, then {peak}");
    }
    ports.serves();
}

/// Cure53 SPI-01-006: descriptors that were never closed.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_behind_the_handshake_leaks_no_descriptor() {
    let ports = Ports::open().await;
    let noise: Vec<u8> = (0..30_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for port in ["server", "agent"] {
        let mut before = None;
        for round in 0..40 {
            for preface in [http2::preface(), vec![]] {
                let alpn: &[u8] = if preface.is_empty() { b"http/1.1" } else { b"h2" };
                let mut stream = ports.dial(port, alpn).await;
                let _reset = stream.write_all(&[&preface[..], &noise].concat()).await;
            }
            if round == 3 {
                before = Some((ports.descriptors(port), ports.peak_kib(port)));
            }
        }
        let (descriptors, peak) = before.unwrap();
        eventually(&format!("{port} closes what it opened"), || {
            (ports.descriptors(port) <= descriptors + 2).then_some(())
        });
        assert!(ports.peak_kib(port) < peak + 16 * 1024, "{port}: {peak} KiB, then {}", ports.peak_kib(port));
    }
    ports.serves();
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l9_a_flooding_sds_stream_stays_small() {
    use sekisho_proto::envoy::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
    use sekisho_proto::envoy::secret::secret_discovery_service_client::SecretDiscoveryServiceClient;
    let world = World::start();
    world.register_with("/edge", &World::own_selectors(), &[]);
    let mut client = SecretDiscoveryServiceClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let fetched = client.fetch_secrets(DiscoveryRequest::default()).await.unwrap();
    assert_eq!(fetched.into_inner().resources.len(), 2);
    let agent = world.agent.as_ref().unwrap().pid();
    let before = rss_mb(agent);
    let again = DeltaDiscoveryRequest { resource_names_subscribe: vec!["ROOTCA".to_owned()], ..Default::default() };
    let mut answers = client.delta_secrets(futures_util::stream::iter(vec![again; 50_000]).chain(pending())).await;
    let answers = answers.as_mut().unwrap().get_mut();
    // All of them were read: the answer is to the last one.
    assert!(answers.message().await.unwrap().is_some());
    let other = client.fetch_secrets(DiscoveryRequest::default());
    let other = tokio::time::timeout(Duration::from_secs(10), other).await;
    assert!(other.expect("another caller is answered meanwhile").is_ok());
    let risen = rss_mb(agent) - before;
    assert!(risen < 40.0, "{risen} MB for one stream");
}
