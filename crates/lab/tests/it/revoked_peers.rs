//! Deleted entries, changed entries and banned agents against peers that already hold an SVID and a connection (law
//! L12).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sekisho_identity::Bundle;
use sekisho_net::{
    Acceptor, Dialer, ExpectedServer, Identity, TlsConnection, TlsMaterial, TlsSource, certificates_from_pem,
};
use sekisho_sdk::IdentitySource;
use sekisho_types::{SpiffeId, TrustDomain};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peers::{Attested, clock};
use crate::world::{POLICY, Role, TRUST_DOMAIN, World, digest, eventually, free_port, program, raw, unix};

/// What law L12 allows between the answer to a deletion and the last request that is accepted.
const BOUND: Duration = Duration::from_millis(500);

const REQUEST: &[u8] = b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n\r\n";

/// A service `ledger` behind its sidecar, and a node of the attacker's that may hold the identity of `till`.
struct Service {
    sidecar: Option<Role>,
    node: Attested,
    inbound: String,
    address: String,
    protocol: &'static str,
    bundle: Arc<Bundle>,
    world: World,
}

impl Service {
    async fn open(protocol: &'static str) -> Self {
        let world = World::start();
        if protocol == "tcp" {
            world.set_policy(&POLICY.replace("\"GET\"", "\"TCP\"").replace("[\"v1\", \"balance\"]", "[]"));
        }
        world.register("/shop/ledger", &[format!("unix:sha256:{}", digest(&program("transactions")))]);
        let address = || format!("127.0.0.1:{}", free_port());
        let mut bundle = Bundle::empty(TrustDomain::parse(TRUST_DOMAIN).unwrap());
        let pem = world.text(&["bundle", "show", "--form", "pem"]);
        certificates_from_pem(pem.as_bytes()).into_iter().for_each(|der| bundle.add_x509(der).unwrap());
        let node = Attested::new(&world).await;
        let (inbound, address) = (address(), address());
        let mut open = Self { sidecar: None, node, inbound, address, protocol, bundle: Arc::new(bundle), world };
        open.start_sidecar("ledger");
        open
    }

    fn start_sidecar(&mut self, name: &str) {
        let options = ["--protocol", self.protocol, "--inbound", &self.inbound, "--upstream", &self.address];
        let sidecar = self.world.sidecar(name, "transactions", &options, &[("LISTEN", &self.address)]);
        sidecar.ready();
        self.sidecar = Some(sidecar);
    }

    /// An entry of the attacker's node, and what one of its processes holds.
    async fn till(&self) -> (String, Till) {
        let entry = self.entry("unix:uid:7");
        let till = self.holding(&self.node.identity_of(&entry).await);
        (entry, till)
    }

    /// An entry of the attacker's node for `till`.
    fn entry(&self, selector: &str) -> String {
        let id = "spiffe://example.org/shop/till";
        let arguments = ["entry", "create", "--spiffe-id", id, "--parent-id", &self.node.id, "--selector", selector];
        self.world.json(&arguments)["id"].as_str().unwrap().to_owned()
    }

    fn holding(&self, identity: &Identity) -> Till {
        let source = TlsSource::new(TlsMaterial::new(Some(identity), self.bundle.clone()).unwrap());
        Till { source, leaf: identity.chain[0].clone(), inbound: self.inbound.clone() }
    }

    /// Deletes an entry, and says when that was acknowledged.
    fn delete(&self, entry: &str) -> Instant {
        let request = format!("DELETE /v1/entries/{entry} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = raw(&mut unix(&self.world.path("s/api.sock")), &request);
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        Instant::now()
    }

    /// Waits until a refusal that says this is on record at the server.
    fn records(&self, text: &str) {
        eventually(&format!("a record of {text:?}"), || {
            let listed = self.world.json(&["decisions", "--effect", "refusal", "--limit", "1000"]);
            listed.to_string().contains(text).then_some(())
        });
    }
}

/// A peer that keeps its SVID after a revocation.
#[derive(Clone)]
struct Till {
    source: TlsSource,
    leaf: Vec<u8>,
    inbound: String,
}

impl Till {
    async fn dial(&self) -> Option<TlsConnection> {
        let expected = ExpectedServer::Id(SpiffeId::parse("spiffe://example.org/shop/ledger").unwrap());
        let dialer = Dialer { source: self.source.clone(), address: self.inbound.clone(), expected, clock };
        dialer.connect(&[]).await.ok()
    }

    /// Whether a request on a new connection is answered.
    async fn asks(&self) -> bool {
        match self.dial().await {
            Some(mut connection) => ask(&mut connection).await.contains(" 200 "),
            None => false,
        }
    }

    async fn asks_until_answered(&self) -> TlsConnection {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Some(mut connection) = self.dial().await
                && ask(&mut connection).await.contains(" 200 ")
            {
                return connection;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not answered within 20 s");
    }

    async fn asks_until_refused(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.asks().await {
            assert!(Instant::now() < end, "still answered after 20 s");
        }
    }
}

/// One request on a connection that stays open: the answer, or what came before the connection was closed.
async fn ask(connection: &mut TlsConnection) -> String {
    if connection.stream.write_all(REQUEST).await.is_err() {
        return String::new();
    }
    let (mut answer, mut bytes) = (vec![], [0; 4096]);
    while !answer.ends_with(b"}") {
        match tokio::time::timeout(Duration::from_secs(10), connection.stream.read(&mut bytes)).await {
            Ok(Ok(count @ 1..)) => answer.extend_from_slice(&bytes[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn is_closed(connection: &mut TlsConnection) -> bool {
    let mut byte = [0];
    let read = connection.stream.read(&mut byte);
    matches!(tokio::time::timeout(Duration::from_secs(20), read).await, Ok(Ok(0) | Err(_)))
}

/// Asks without pause until nothing is answered any more; when the last answer came. `again` dials for each request.
async fn hammer(till: Till, again: bool) -> Instant {
    let (mut last, mut connection) = (Instant::now(), till.dial().await);
    let end = Instant::now() + Duration::from_secs(30);
    while let Some(open) = &mut connection
        && ask(open).await.contains(" 200 ")
    {
        last = Instant::now();
        assert!(last < end, "still answered after 30 s");
        if again {
            connection = till.dial().await;
        }
    }
    last
}

/// How long after the answer to a deletion the last request was accepted, in each of many rounds, while other peers
/// keep the sidecar busy.
async fn rounds(service: &Service, rounds: u32) -> Vec<Duration> {
    let (_, other) = service.till().await;
    drop(other.asks_until_answered().await);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let (till, stop, served) = (other.clone(), stop.clone(), served.clone());
            tokio::spawn(async move {
                let mut connection = till.dial().await.unwrap();
                while !stop.load(Ordering::Relaxed) {
                    assert!(
                        ask(&mut connection).await.contains(" 200 "),
                        "a peer that is in good standing was cut off"
                    );
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut delays = vec![];
    for round in 0..rounds {
        let entry = service.entry(&format!("unix:gid:{round}"));
        let till = service.holding(&service.node.identity_of(&entry).await);
        assert!(till.asks().await, "an SVID of a new entry works at once, whatever was deleted before");
        let open = tokio::spawn(hammer(till.clone(), false));
        let new = tokio::spawn(hammer(till, true));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let acknowledged = tokio::task::block_in_place(|| service.delete(&entry));
        let last = open.await.unwrap().max(new.await.unwrap());
        delays.push(last.saturating_duration_since(acknowledged));
    }
    stop.store(true, Ordering::Relaxed);
    for task in busy {
        task.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > rounds, "there was no load");
    delays.sort();
    delays
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_l12_deleted_entries_are_refused_within_500_ms() {
    let service = Service::open("http1").await;
    let count: u32 = std::env::var("SEKISHO_LAB_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    let percentile = |delays: &[Duration], share: usize| delays[(delays.len() - 1) * share / 100];
    let mut delays = rounds(&service, count).await;
    if percentile(&delays, 99) > BOUND {
        // A machine that others load may be late once.
        delays = rounds(&service, count).await;
    }
    println!(
        "deleted to last accepted request: p50 {:?}, p99 {:?}, max {:?}, {} rounds",
        percentile(&delays, 50),
        percentile(&delays, 99),
        delays.last().unwrap(),
        delays.len()
    );
    assert!(percentile(&delays, 99) <= BOUND, "{delays:?}");
    service.records("was deleted (revision ");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l12_revocation_closes_open_connections_with_reason() {
    for protocol in ["http1", "tcp"] {
        let service = Service::open(protocol).await;
        let (entry, till) = service.till().await;
        let mut open = till.asks_until_answered().await;
        tokio::task::block_in_place(|| service.delete(&entry));
        assert!(is_closed(&mut open).await, "{protocol}: open although the entry was deleted");
        till.asks_until_refused().await;
        service.records(&format!("entry `{entry}` was deleted"));
        // The same node gets a new SVID for a new entry, and it works at once.
        let (_, till) = service.till().await;
        let mut open = till.asks_until_answered().await;
        service.world.text(&["agents", "ban", &service.node.id]);
        assert!(is_closed(&mut open).await, "{protocol}: open although its agent was banned");
        till.asks_until_refused().await;
        service.records("the agent that asked for it was banned");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l12_narrowing_an_entry_revokes_its_svids() {
    let service = Service::open("http1").await;
    let (entry, till) = service.till().await;
    let mut open = till.asks_until_answered().await;
    // A hint takes nothing away.
    service.world.text(&["entry", "update", &entry, "--hint", "main"]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(ask(&mut open).await.contains(" 200 "), "cut off by a change that took nothing away");
    service.world.text(&["entry", "update", &entry, "--spiffe-id", "spiffe://example.org/shop/other"]);
    assert!(is_closed(&mut open).await);
    till.asks_until_refused().await;
    service.records(&format!("entry `{entry}` was changed"));
    // Changed back, the entry gives the ID again, and what was issued before stays revoked.
    service.world.text(&["entry", "update", &entry, "--spiffe-id", "spiffe://example.org/shop/till"]);
    let new = service.holding(&service.node.identity_of(&entry).await);
    drop(new.asks_until_answered().await);
    assert!(!till.asks().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l12_an_operator_revokes_what_was_issued_so_far() {
    let service = Service::open("http1").await;
    let entry = service.entry("unix:uid:7");
    for what in ["--entry", "--spiffe-id", "--serial", "--agent-id"] {
        let identity = service.node.identity_of(&entry).await;
        let till = service.holding(&identity);
        let mut open = till.asks_until_answered().await;
        let name = match what {
            "--entry" => entry.clone(),
            "--serial" => sekisho_identity::leaf_facts(&identity.chain[0]).unwrap().serial,
            "--agent-id" => service.node.id.clone(),
            _ => "spiffe://example.org/shop/till".to_owned(),
        };
        let order = ["revocation", "create", what, &name, "--reason", "key leaked"];
        let (code, _, said) = service.world.sekisho(&order);
        assert_eq!(code, 3, "{what} without a terminal: {said}");
        assert!(said.contains("spiffe://example.org/shop/till") && said.contains(&entry), "{what} says: {said}");
        assert!(ask(&mut open).await.contains(" 200 "), "{what}: nothing was confirmed");
        service.world.text(&[&order[..], &["--yes"]].concat());
        assert!(is_closed(&mut open).await, "{what}");
        till.asks_until_refused().await;
        service.records("was revoked: key leaked (revision ");
        eventually("the sidecar has applied it", || {
            let listed = service.world.json(&["revocation", "list"]);
            let row =
                listed["revocations"].as_array().unwrap().iter().find(|row| row["what"] == name.as_str())?.clone();
            assert!(row["until_ms"].as_i64() > row["since_ms"].as_i64(), "{row}");
            assert_eq!(row["reason"], "was revoked: key leaked");
            let sidecar = &listed["sidecars"][0];
            assert_eq!(sidecar["agent"], service.world.agent_id.as_str());
            assert_eq!(sidecar["spiffe_id"], "spiffe://example.org/shop/ledger");
            (row["applied"] == 1 && row["waiting"] == 0).then_some(())
        });
        let kind = what[2..].replace("agent-id", "agent").replace('-', "_");
        eventually("its leaf", || {
            let leaves = service.world.leaves("revocation");
            leaves.iter().any(|leaf| leaf["what"] == kind.as_str()).then_some(())
        });
    }
    // The agent's own SVID was revoked with the rest.
    let refused = service.node.issue(&entry).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    let table = service.world.text(&["revocation", "list"]);
    assert!(table.contains("1 of 1") && table.contains("key leaked"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l14_revocations_outlive_restarts_of_server_agent_and_sidecar() {
    let mut service = Service::open("http1").await;
    let (entry, till) = service.till().await;
    drop(till.asks_until_answered().await);
    let good = service.holding(&service.node.identity_of(&service.entry("unix:uid:8")).await);
    drop(good.asks_until_answered().await);
    tokio::task::block_in_place(|| service.delete(&entry));
    till.asks_until_refused().await;
    // The server knows it after a restart, and tells an agent that asks anew.
    service.world.server.take().unwrap().kill();
    service.world.agent.take().unwrap().kill();
    service.sidecar = None;
    service.world.start_server();
    service.world.start_agent();
    service.start_sidecar("fresh");
    drop(good.asks_until_answered().await);
    assert!(!till.asks().await, "a restart of the server forgot a revocation");
    // The agent knows it while the server is gone.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    service.world.server.take().unwrap().kill();
    service.world.agent.take().unwrap().kill();
    service.sidecar = None;
    service.world.start_agent();
    // Nor does the sidecar remember it.
    std::fs::remove_file(service.world.path("fresh/revocations")).unwrap();
    service.start_sidecar("fresh");
    drop(good.asks_until_answered().await);
    assert!(!till.asks().await, "a restart of the agent forgot a revocation");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l12_the_agent_withdraws_deleted_entries_svids() {
    let world = World::start();
    let entry = world.register("/shop/till", &World::own_selectors());
    let source = IdentitySource::of_self(&world.agent_socket(), &TrustDomain::parse(TRUST_DOMAIN).unwrap()).unwrap();
    source.ready().await;
    world.text(&["entry", "delete", &entry]);
    let mut held = source.held.clone();
    let gone = tokio::time::timeout(Duration::from_secs(20), held.wait_for(Option::is_none));
    gone.await.expect("still held after 20 s").unwrap();
}

/// A service without a sidecar, on our library.
#[tokio::test(flavor = "multi_thread")]
async fn law_l12_the_library_refuses_revoked_peers() {
    let service = Service::open("http1").await;
    service.world.register("/shop/library", &World::own_selectors());
    let domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    let library = IdentitySource::of_self(&service.world.agent_socket(), &domain).unwrap();
    library.ready().await;
    let (entry, till) = service.till().await;
    let accepts = async || {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let expected = ExpectedServer::Id(SpiffeId::parse("spiffe://example.org/shop/library").unwrap());
        let address = listener.local_addr().unwrap().to_string();
        let dialer = Dialer { source: till.source.clone(), address, expected, clock };
        let dialled = tokio::spawn(async move { dialer.connect(&[]).await.map(drop) });
        let acceptor = Acceptor::new(&library.tls, true, &[]).unwrap();
        let accepted = acceptor.accept(listener.accept().await.unwrap().0, clock());
        let accepted = accepted.await.map(drop).map_err(|error| error.to_string());
        let _dialled = dialled.await.unwrap();
        accepted
    };
    let dials = async || {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let expected = ExpectedServer::Id(SpiffeId::parse("spiffe://example.org/shop/till").unwrap());
        let address = listener.local_addr().unwrap().to_string();
        let dialer = Dialer { source: library.tls.clone(), address, expected, clock };
        let acceptor = Acceptor::new(&till.source, true, &[]).unwrap();
        let accepted =
            tokio::spawn(async move { acceptor.accept(listener.accept().await.unwrap().0, clock()).await.map(drop) });
        let dialled = dialer.connect(&[]).await.map(drop).map_err(|error| error.to_string());
        let _accepted = accepted.await.unwrap();
        dialled
    };
    assert_eq!((accepts().await, dials().await), (Ok(()), Ok(())));
    let leaf = sekisho_identity::leaf_facts(&till.leaf).unwrap();
    let revocations = library.revocations.clone().unwrap();
    let open = tokio::spawn(async move { revocations.revoked(&leaf).await });
    tokio::task::block_in_place(|| service.delete(&entry));
    let why = tokio::time::timeout(Duration::from_secs(20), open).await.unwrap().unwrap();
    assert!(why.contains(&format!("entry `{entry}` was deleted")), "{why}");
    for refused in [accepts().await, dials().await] {
        assert!(refused.unwrap_err().contains("the peer's SVID is revoked"));
    }
    let (_, till) = service.till().await;
    assert!(library.revocations.unwrap().find(&sekisho_identity::leaf_facts(&till.leaf).unwrap()).is_none());
}
