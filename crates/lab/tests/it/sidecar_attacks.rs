//! Attacks on a sidecar by its own workload and by its peers. The test itself is the workload `till`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::world::{POLICY, Role, TRUST_DOMAIN, World, digest, eventually, free_port, program, raw};

pub struct Counter {
    _till: Role,
    _ledger: Role,
    pub world: World,
    pub till_entry: String,
    pub ledger_entry: String,
    inbound: String,
    local: String,
}

impl Counter {
    fn open(protocol: &str) -> Self {
        Self::open_with(protocol, &[], &[])
    }

    pub fn open_with(protocol: &str, server_options: &[&str], environment: &[(String, String)]) -> Self {
        let world = World::with_environment(server_options, environment.to_vec(), environment.to_vec());
        if protocol == "tcp" {
            world.set_policy(&POLICY.replace("\"GET\"", "\"TCP\"").replace("[\"v1\", \"balance\"]", "[]"));
        }
        let till_entry = world.register("/shop/till", &World::own_selectors());
        let ledger_entry =
            world.register("/shop/ledger", &[format!("unix:sha256:{}", digest(&program("transactions")))]);
        let address = || format!("127.0.0.1:{}", free_port());
        let (inbound, service, local) = (address(), address(), address());
        let options = ["--protocol", protocol, "--inbound", inbound.as_str(), "--upstream", service.as_str()];
        let given = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let given: Vec<_> = given.chain([("LISTEN", service.as_str())]).collect();
        let ledger = world.sidecar("ledger", "transactions", &options, &given);
        ledger.ready();
        let mut command = Command::new(program("sekisho"));
        command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--protocol", protocol]);
        command.arg("--agent-socket").arg(world.agent_socket()).arg("--data").arg(world.path("till"));
        command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/ledger"));
        command.arg("--workload-pid").arg(std::process::id().to_string());
        let till = Role::start(command.envs(environment.iter().cloned()));
        till.ready();
        let counter = Self { _till: till, _ledger: ledger, world, till_entry, ledger_entry, inbound, local };
        eventually("policy reaches the sidecar", || counter.get("/v1/balance", "").contains(" 200 ").then_some(()));
        counter
    }

    pub fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.local).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    pub fn get(&self, target: &str, headers: &str) -> String {
        let request = format!("GET {target} HTTP/1.1\r\nhost: ledger\r\n{headers}connection: close\r\n\r\n");
        raw(&mut self.dial(), &request)
    }
}

#[test]
fn a_peer_with_an_unexpected_id_is_refused() {
    let counter = Counter::open("http1");
    let inbound = counter.inbound.clone();
    for protocol in ["http1", "tcp"] {
        let local = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(program("sekisho"));
        command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--protocol", protocol]);
        command.arg("--agent-socket").arg(counter.world.agent_socket()).arg("--data").arg(counter.world.path(protocol));
        command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/other"));
        let other = Role::start(command.arg("--workload-pid").arg(std::process::id().to_string()));
        other.ready();
        let ask = "GET /v1/balance HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n";
        let answer = raw(&mut TcpStream::connect(&local).unwrap(), ask);
        let refused = if protocol == "tcp" { answer.is_empty() } else { answer.starts_with("HTTP/1.1 502") };
        assert!(refused, "{protocol}: {answer}");
        eventually("it says why", || other.stderr().contains("shop/other").then_some(()));
    }
}

#[test]
fn tricks_with_paths_headers_and_lengths_are_refused() {
    let counter = Counter::open("http1");
    assert!(counter.get("/v1/balance", "").contains("spiffe://example.org/shop/till"));
    for (target, headers) in [
        ("/v1/../v1/balance", ""),
        ("/v1//balance", ""),
        ("/v1/%2e%2e/v1/balance", ""),
        ("/v1%2fbalance", ""),
        ("/v1/balance", "x-sekisho-peer-id: spiffe://example.org/admin\r\n"),
        ("/v1/balance", "x_sekisho_peer_id: spiffe://example.org/admin\r\n"),
        ("/v1/balance", "host: other\r\n"),
        ("/v1/balance", "transfer-encoding: gzip, chunked\r\n"),
        ("/v1/balance", "content-length: 3\r\ntransfer-encoding: chunked\r\n"),
        ("/v1/balance", "transfer-encoding: chunked\r\ncontent-length: 3\r\n"),
        ("/v1/balance", "a: b\r\n folded: c\r\n"),
        ("/v1/balance", "a: b\nc: d\r\n"),
        ("/v1/balance", "upgrade: h2c\r\n"),
    ] {
        let answer = counter.get(target, headers);
        assert!(answer.starts_with("HTTP/1.1 400"), "{target} {headers:?}: {answer}");
    }
    // A head without end is cut off, and the next caller is served.
    let mut endless = counter.dial();
    let line = format!("x-filler: {}\r\n", "a".repeat(8000));
    let _cut = endless.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n");
    let mut sent = 0;
    while sent < 1024 * 1024 * 1024 && endless.write_all(line.as_bytes()).is_ok() {
        sent += line.len();
    }
    assert!(sent < 16 * 1024 * 1024, "{sent} bytes of head were taken");
    assert!(counter.get("/v1/balance", "").contains(" 200 "));
    assert!(counter.get("/v1/elsewhere", "").contains(" 403 "));
}

#[test]
fn law_l12_policy_changes_apply_to_open_connections() {
    let counter = Counter::open("tcp");
    let mut open = counter.dial();
    let mut buffer = [0u8; 1024];
    open.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n\r\n").unwrap();
    assert!(open.read(&mut buffer).unwrap() > 0);
    counter.world.set_policy(&POLICY.replace("\"GET\"", "\"NEVER\""));
    let mut rest = Vec::new();
    // The sidecar closes it; the read ends, or is reset.
    let _closed = open.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert_eq!(counter.get("/v1/balance", ""), "", "a new connection is denied");
}

#[test]
fn law_l9_garbage_crashes_no_sidecar() {
    let noise: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let counter = Counter::open("http1");
    for _ in 0..20 {
        let _reset = counter.dial().write_all(&noise);
        let _reset = TcpStream::connect(&counter.inbound).unwrap().write_all(&noise);
        // A head that is none, and a body that is none.
        let _reset = counter.dial().write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff");
        let head = "GET /v1/balance HTTP/1.1\r\nhost: ledger\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
        let answer = raw(&mut counter.dial(), head);
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert!(counter.get("/v1/balance", "").contains(" 200 "));
}
