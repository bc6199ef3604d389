//! Streams of many agents over TLS at a real server: what an open one costs, and what a change costs while
//! they are open.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sekisho_net::Identity;
use sekisho_proto::server::{WatchRequest, node_client::NodeClient};
use sekisho_proto::spire::entry::v1::{BatchCreateEntryRequest, entry_client::EntryClient};
use sekisho_proto::types;
use sekisho_types::Digest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::measure::{Table, cpu_micros, percentile, rss_mb};
use crate::peers::{attest_at, channel_to, client};
use crate::world::{POLICY, TRUST_DOMAIN, World, raw, unix};

const STREAMS: usize = 2000;
const ENTRIES: usize = 20;
/// Changes in one measurement.
const CHANGES: usize = 500;
/// Nodes that a server attests at once from one address; then it takes one a second (law L9).
const PER_ADDRESS: usize = 20;

/// A message that came to a stream: which, when, and whether it holds a policy.
struct Came {
    stream: usize,
    at: Instant,
    policy: bool,
}

pub async fn streams(table: &mut Table) {
    let world = World::start();
    let server = world.server.as_ref().unwrap().pid();
    let (alone, _) = changes(&world, |_| "none".into(), None).await;
    let mut identities = vec![];
    for number in 0..STREAMS {
        identities.push(node(&world, number).await);
    }
    give_entries(&world).await;
    let (before, used, began) = (rss_mb(server), cpu_micros(server), Instant::now());
    let (sends, mut came) = unbounded_channel();
    for (number, identity) in identities.iter().enumerate() {
        open(&world, identity, number, sends.clone()).await;
    }
    let (opened, each) = (began.elapsed().as_secs_f64(), (cpu_micros(server) - used) / STREAMS as f64);
    table.add(
        format!("open {STREAMS} streams over TLS, {ENTRIES} entries each"),
        format!("{opened:.1} s, {each:.0} µs of server CPU each, RSS {before:.0} → {:.0} MB", rss_mb(server)),
        "–",
    );
    let used = cpu_micros(server);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let idle = (cpu_micros(server) - used) / 100_000.0;
    table.add("they wait for 10 s", format!("{idle:.1} % of a core"), "–");
    let (with, _) = changes(&world, |_| "none".into(), None).await;
    table.add(
        "a change that concerns none of them: all server CPU of the call, without them → with them",
        format!("{alone:.0} → {with:.0} µs"),
        "goal 50 µs more",
    );
    assert!(came.try_recv().is_err(), "no stream was woken");
    let (_, mut times) = changes(&world, |number| format!("n{}", number * 797 % STREAMS), Some(&mut came)).await;
    table.add(
        "a change that concerns one: from the operator's call to its message",
        format!("p50 {:.2}, p99 {:.2} ms", percentile(&mut times, 0.5), percentile(&mut times, 0.99)),
        "goal 10 ms",
    );
    policy(table, &world, &mut came).await;
}

/// A new policy, until all streams have it.
async fn policy(table: &mut Table, world: &World, came: &mut UnboundedReceiver<Came>) {
    let (used, server) = (cpu_micros(world.server.as_ref().unwrap().pid()), world.server.as_ref().unwrap().pid());
    std::fs::write(world.path("policy/p.rego"), format!("{POLICY}# another\n")).unwrap();
    let (mut first, mut last, mut left) = (None, Instant::now(), STREAMS);
    while left > 0 {
        let message = came.recv().await.unwrap();
        if message.policy {
            first.get_or_insert(message.at);
            (last, left) = (last.max(message.at), left - 1);
        }
    }
    let span = last.duration_since(first.unwrap()).as_secs_f64();
    let spent = (cpu_micros(server) - used) / STREAMS as f64;
    table.add(
        "a policy to all of them",
        format!("{span:.2} s from the first to the last, {spent:.0} µs of server CPU each"),
        "–",
    );
}

/// Entries, one a call, under this parent each: server CPU of each, and the time until its stream has it.
async fn changes(
    world: &World,
    parent: impl Fn(usize) -> String,
    mut came: Option<&mut UnboundedReceiver<Came>>,
) -> (f64, Vec<Duration>) {
    let (mut registry, server) = (registry(world), world.server.as_ref().unwrap().pid());
    let (used, mut times) = (cpu_micros(server), vec![]);
    for number in 0..CHANGES {
        let parent = parent(number);
        let entry = entry(&format!("/change/{parent}/{number}/{}", came.is_some()), &parent);
        let asked = Instant::now();
        registry.batch_create_entry(of_one(entry)).await.unwrap();
        if let Some(came) = came.as_mut() {
            let message = came.recv().await.unwrap();
            assert_eq!(format!("n{}", message.stream), parent);
            times.push(message.at.duration_since(asked));
        }
    }
    ((cpu_micros(server) - used) / CHANGES as f64, times)
}

fn registry(world: &World) -> EntryClient<tonic::transport::Channel> {
    EntryClient::new(sekisho_net::grpc_over_unix(world.path("s/api.sock")))
}

fn of_one(entry: types::Entry) -> BatchCreateEntryRequest {
    BatchCreateEntryRequest { entries: vec![entry], output_mask: None }
}

fn entry(path: &str, parent: &str) -> types::Entry {
    let id = |path: String| Some(types::Spiffeid { trust_domain: TRUST_DOMAIN.into(), path });
    types::Entry {
        spiffe_id: id(path.into()),
        parent_id: id(format!("/spire/agent/join_token/{parent}")),
        selectors: vec![types::Selector { r#type: "unix".into(), value: "uid:4242".into() }],
        ..Default::default()
    }
}

async fn give_entries(world: &World) {
    let mut registry = registry(world);
    let all = (0..STREAMS * ENTRIES).map(|n| entry(&format!("/svc/{n}"), &format!("n{}", n / ENTRIES)));
    let all: Vec<_> = all.collect();
    for some in all.chunks(500) {
        let request = BatchCreateEntryRequest { entries: some.to_vec(), output_mask: None };
        registry.batch_create_entry(request).await.unwrap();
    }
}

/// Attests a node by a token, from the loopback address whose turn it is.
async fn node(world: &World, number: usize) -> Identity {
    let token = format!("bench-token-{number:08}");
    let body = format!(r#"{{"ttl":600,"token":"{token}","agent_id":"n{number}"}}"#);
    let head = "POST /v1/tokens HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let said = raw(&mut unix(&world.path("s/api.sock")), &request);
    assert!(said.contains(" 201 "), "{said}");
    let address = from(number / PER_ADDRESS, &world.address).await;
    let fingerprint = world.fingerprint.get_or_init(|| world.text(&["bundle", "show", "--form", "fingerprint"]));
    let authority = Digest::parse(fingerprint.lines().next().unwrap()).unwrap();
    let channel = channel_to(&address.to_string(), TRUST_DOMAIN, authority, None);
    attest_at(channel, "join_token", token.as_bytes()).await.unwrap()
}

/// Where one connection is taken and goes on to the server from the loopback address of this number.
async fn from(number: usize, server: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, server) = (listener.local_addr().unwrap(), server.parse().unwrap());
    let last = u8::try_from(number + 2).unwrap();
    tokio::spawn(async move {
        let (mut taken, _) = listener.accept().await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 1, last], 0))).unwrap();
        let mut onward: TcpStream = socket.connect(server).await.unwrap();
        let _ended = tokio::io::copy_bidirectional(&mut taken, &mut onward).await;
    });
    address
}

/// Opens a stream on a connection of its own, and takes what it begins with.
async fn open(world: &World, identity: &Identity, number: usize, sends: UnboundedSender<Came>) {
    let requests =
        tokio_stream::StreamExt::chain(tokio_stream::iter([WatchRequest::default()]), tokio_stream::pending());
    let mut changes = NodeClient::new(client(world, Some(identity))).watch(requests).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap();
    assert!(first.complete && first.entries.len() == ENTRIES, "{} entries", first.entries.len());
    tokio::spawn(async move {
        while let Ok(Some(message)) = changes.message().await {
            let _gone = sends.send(Came { stream: number, at: Instant::now(), policy: message.policy.is_some() });
        }
    });
}
