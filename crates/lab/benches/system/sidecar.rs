//! A pair of sidecars between a load generator and a service, and the same without them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::measure::{Table, percentile, rss_mb};
use crate::world::{POLICY, Role, TRUST_DOMAIN, World, digest, eventually, free_port, program};

/// Requests in one measurement.
const REQUESTS: u32 = 200_000;

pub fn pair(table: &mut Table) {
    let Ok(h2load) = std::fs::canonicalize("/usr/bin/h2load") else {
        table.add("sidecar pair", "skipped: no h2load", "–");
        return;
    };
    for protocol in ["http1", "tcp"] {
        let pair = Pair::open(protocol);
        let load = |at: &str, how: &[&str]| {
            let (target, log) = (format!("http://{at}/v1/balance"), pair.world.path("log"));
            // It would be appended to.
            let _none_yet = std::fs::remove_file(&log);
            let mut command = Command::new(&h2load);
            command.arg("--h1").args(how).arg(format!("--log-file={}", log.display())).arg(target);
            let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
            (rate(&output), times(&std::fs::read_to_string(log).unwrap()))
        };
        let requests = REQUESTS.to_string();
        let full = ["-n", requests.as_str(), "-c", "16"];
        let ((direct, _), (paired, mut latencies)) = (load(&pair.service, &full), load(&pair.local, &full));
        let peer = if protocol == "tcp" { "ghostunnel: 28,700" } else { "Envoy: 9,300; goal 30,000" };
        table.add(
            format!("sidecar pair, {protocol}, 16 connections"),
            format!("{paired:.0} per second, {}", latency(&mut latencies)),
            format!("{:.2} of {direct:.0} without; {peer}", paired / direct),
        );
        let peers = "peers p50: Envoy 1.5 ms, ghostunnel 0.6 ms";
        let (mut without, mut with) = (steady(&pair.service), steady(&pair.local));
        table.add(
            format!("the same at 1,000 per second, {protocol}, one after the other"),
            latency(&mut with),
            format!("{} without; {peers}", latency(&mut without)),
        );
        let bursts = ["-n", "10000", "-c", "16", "--rps", "62.5"];
        let ((_, mut without), (_, mut with)) = (load(&pair.service, &bursts), load(&pair.local, &bursts));
        table.add(
            format!("the same at 1,000 per second, {protocol}, 16 at a time"),
            latency(&mut with),
            format!("{} without; {peers}", latency(&mut without)),
        );
        let (without, (with, mut times)) = (fresh(&pair.service).0, fresh(&pair.local));
        let what = if protocol == "tcp" { "with a handshake each, " } else { "" };
        table.add(
            format!("new connections of the workload, {what}{protocol}, 16 at a time"),
            format!("{with:.0} per second, {}", latency(&mut times)),
            format!(
                "{without:.0} without; {}",
                if protocol == "tcp" { "goal 1,000; ghostunnel 625" } else { "goal 5,000" }
            ),
        );
        table.add(
            format!("RSS of the {protocol} sidecars: client's, service's"),
            format!("{:.0}, {:.0} MB", rss_mb(pair.till.pid()), rss_mb(pair.ledger.pid())),
            "goal 15 MB; ghostunnel 32, Envoy 69 for both",
        );
    }
}

/// Runs a command while a pair is open, with its addresses and processes in the environment. Only this process and its
/// children may use the client's sidecar.
pub fn beside(protocol: &str, command: &str) {
    let pair = Pair::open(protocol);
    let pid = |role: &Option<Role>| role.as_ref().unwrap().pid().to_string();
    let url = |at: &str| format!("http://{at}/v1/balance");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).env("THROUGH_PAIR", url(&pair.local)).env("WITHOUT_PAIR", url(&pair.service));
    shell.env("CLIENTS_SIDECAR", pair.till.pid().to_string()).env("SERVICES_SIDECAR", pair.ledger.pid().to_string());
    shell.env("AGENT", pid(&pair.world.agent)).env("SERVER", pid(&pair.world.server));
    assert!(shell.status().unwrap().success(), "`{command}` failed");
}

/// A service and its sidecar, and the sidecar of this process.
struct Pair {
    till: Role,
    ledger: Role,
    world: World,
    service: String,
    local: String,
}

impl Pair {
    fn open(protocol: &str) -> Self {
        let world = World::start();
        world.register("/shop/till", &World::own_selectors());
        world.register("/shop/ledger", &[format!("unix:sha256:{}", digest(&program("transactions")))]);
        if protocol == "tcp" {
            world.set_policy(&POLICY.replace("\"GET\"", "\"TCP\"").replace("[\"v1\", \"balance\"]", "[]"));
        }
        let address = || format!("127.0.0.1:{}", free_port());
        let (inbound, service, local) = (address(), address(), address());
        let options = ["--protocol", protocol, "--inbound", inbound.as_str(), "--upstream", service.as_str()];
        let ledger = world.sidecar("ledger", "transactions", &options, &[("LISTEN", &service)]);
        ledger.ready();
        let mut command = Command::new(program("sekisho"));
        command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--protocol", protocol]);
        command.arg("--agent-socket").arg(world.agent_socket()).arg("--data").arg(world.path("till"));
        command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/ledger"));
        let till = Role::start(command.arg("--workload-pid").arg(std::process::id().to_string()));
        till.ready();
        eventually("the policy is there", || {
            ask(&mut TcpStream::connect(&local).unwrap()).contains(" 200 ").then_some(())
        });
        Self { till, ledger, world, service, local }
    }
}

/// One request on a connection that stays open; what was answered, or what came before the connection was closed.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n\r\n").unwrap();
    let (mut answer, mut read) = ([0u8; 4096], 0);
    // An answer's body is a JSON object.
    while read == 0 || answer[read - 1] != b'}' {
        match stream.read(&mut answer[read..]) {
            Ok(more @ 1..) => read += more,
            _ => break,
        }
    }
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// 1,000 requests a second for ten seconds on 16 connections, spread evenly: what one request costs that meets no
/// other.
fn steady(at: &str) -> Vec<Duration> {
    const CONNECTIONS: u32 = 16;
    const EACH: u32 = 625;
    let (period, begins) = (Duration::from_millis(u64::from(CONNECTIONS)), Instant::now() + Duration::from_millis(100));
    let one = |number: u32| {
        let at = at.to_owned();
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(&at).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut timed = |turn: u32| {
                let due = begins + Duration::from_millis(u64::from(number)) + period * turn;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let sent = Instant::now();
                assert!(ask(&mut stream).contains(" 200 "));
                sent.elapsed()
            };
            (0..EACH).map(&mut timed).collect::<Vec<_>>()
        })
    };
    let threads: Vec<_> = (0..CONNECTIONS).map(one).collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

/// A request on a new connection each, for five seconds: how many a second, and what each took.
fn fresh(at: &str) -> (f64, Vec<Duration>) {
    let began = Instant::now();
    let one = |_| {
        let at = at.to_owned();
        std::thread::spawn(move || {
            let mut times = vec![];
            while began.elapsed() < Duration::from_secs(5) {
                let opened = Instant::now();
                let mut stream = TcpStream::connect(&at).unwrap();
                stream.set_nodelay(true).unwrap();
                assert!(ask(&mut stream).contains(" 200 "));
                times.push(opened.elapsed());
            }
            times
        })
    };
    let threads: Vec<_> = (0..16).map(one).collect();
    let times: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    (times.len() as f64 / began.elapsed().as_secs_f64(), times)
}

/// `finished in 1.2s, 83333.33 req/s, …`
fn rate(output: &str) -> f64 {
    let line = output.lines().find(|line| line.starts_with("finished in")).unwrap_or_else(|| panic!("{output}"));
    line.split(", ").nth(1).unwrap().trim_end_matches(" req/s").parse().unwrap()
}

/// The third column of each line: microseconds until the end of the response.
fn times(log: &str) -> Vec<Duration> {
    let column = |line: &str| Some(Duration::from_micros(line.split('\t').nth(2)?.parse().ok()?));
    log.lines().filter_map(column).collect()
}

fn latency(times: &mut [Duration]) -> String {
    format!("p50 {:.2}, p99 {:.2} ms", percentile(times, 0.5), percentile(times, 0.99))
}
