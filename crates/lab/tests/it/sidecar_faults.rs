//! Sidecars that are killed, whose disk is full, whose kept policy is damaged. The test itself is the workload.

use std::time::{Duration, Instant};

use sekisho_net::{Dialer, ExpectedServer};
use sekisho_sdk::IdentitySource;
use sekisho_types::{SpiffeId, TrustDomain};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::faults::{Full, Shim};
use crate::peers::clock;
use crate::world::{Role, TRUST_DOMAIN, World, eventually, free_port, program};

const ID: &str = "spiffe://example.org/own/workload";
const POLICY: &str = "package workload.authz\n\ndefault allow := false\n\nallow if input.path == [\"yes\"]\n\n\
                      allow if input.path == [\"much\"]\n";

struct Workload {
    world: World,
    source: IdentitySource,
    inbound: String,
    upstream: String,
}

impl Workload {
    async fn new() -> Self {
        let world = World::start();
        world.set_policy(POLICY);
        world.register("/own/workload", &World::own_selectors());
        let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
        let source = IdentitySource::of_self(&world.agent_socket(), &trust_domain).unwrap();
        source.ready().await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let mut head = [0u8; 4096];
                    let read = std::io::Read::read(&mut stream, &mut head).unwrap_or(0);
                    // To whom asks for much, much: 64 MiB.
                    let body = if head[..read].windows(5).any(|w| w == b"/much") { 64 * 1024 * 1024 } else { 2 };
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {body}\r\nconnection: close\r\n\r\n");
                    let _gone = std::io::Write::write_all(&mut stream, answer.as_bytes());
                    let _gone = std::io::Write::write_all(&mut stream, &vec![b'o'; body]);
                });
            }
        });
        Self { world, source, inbound: format!("127.0.0.1:{}", free_port()), upstream }
    }

    fn sidecar(&self, environment: Vec<(String, String)>) -> Role {
        let mut command = std::process::Command::new(program("sekisho"));
        command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--inbound", &self.inbound]);
        command.args(["--upstream", &self.upstream, "--workload-pid", &std::process::id().to_string()]);
        command.arg("--agent-socket").arg(self.world.agent_socket()).arg("--data").arg(self.world.path("p"));
        let role = Role::start(command.envs(environment));
        role.ready();
        role
    }

    /// Status and decision of one request; `None` if there was no answer.
    async fn ask(&self, path: &str) -> Option<(String, String)> {
        let expected = ExpectedServer::Id(SpiffeId::parse(ID).unwrap());
        let dialer = Dialer { source: self.source.tls.clone(), address: self.inbound.clone(), expected, clock };
        let mut stream = dialer.connect(&[b"http/1.1"]).await.ok()?.stream;
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = vec![];
        let _reset = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let decision = answer.lines().find_map(|line| line.strip_prefix("x-sekisho-decision: "));
        // An answer that was cut off is none.
        let whole = answer.split_once("\r\n\r\n").is_some_and(|(_, body)| !body.is_empty());
        let status = answer.split(' ').nth(1).filter(|_| whole)?;
        Some((status.to_owned(), decision.unwrap_or_default().to_owned()))
    }

    async fn until(&self, path: &str, status: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.ask(path).await.is_none_or(|(found, _)| found != status) {
            assert!(Instant::now() < end, "{path}: no {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l5_a_denial_that_was_answered_survives_kill_9() {
    let workload = Workload::new().await;
    let mut answered = vec![];
    for round in 0..12u64 {
        let sidecar = workload.sidecar(vec![]);
        // Another moment each time, in the middle of requests.
        let kill_at = Instant::now() + Duration::from_millis(20 + round * 17 % 90);
        let asking = async {
            while let Some((status, id)) = workload.ask("/no").await {
                assert_eq!(status, "403");
                answered.push(id);
            }
        };
        let killing = async {
            tokio::time::sleep_until(kill_at.into()).await;
            sidecar.kill();
        };
        tokio::join!(asking, killing);
    }
    let _sidecar = workload.sidecar(vec![]);
    assert!(answered.len() > 20, "{}", answered.len());
    eventually("every denial that was answered is recorded", || {
        let listed = workload.world.json(&["decisions", "--effect", "deny", "--limit", "1000"]).to_string();
        answered.iter().all(|id| listed.contains(id.as_str())).then_some(())
    });
    workload.until("/yes", "200").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l5_a_sidecar_with_a_full_disk_counts_losses() {
    let shim = Shim::new();
    let workload = Workload::new().await;
    let sidecar = workload.sidecar(shim.environment());
    workload.until("/yes", "200").await;
    shim.set(0, 0, Full::All);
    for _ in 0..20 {
        assert_eq!(workload.ask("/no").await.unwrap().0, "403");
    }
    eventually("it says so", || sidecar.stderr().contains("spool").then_some(()));
    shim.set(0, 0, Full::None);
    let (status, id) = workload.ask("/no").await.unwrap();
    assert_eq!(status, "403");
    eventually("what comes after is recorded, and what was lost is counted", || {
        let listed = workload.world.json(&["decisions", "--effect", "deny", "--limit", "1000"]).to_string();
        let lost: u64 = workload.world.leaves("gap").iter().filter_map(|gap| gap["lost"].as_u64()).sum();
        (listed.contains(&id) && lost >= 20).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_cached_policy_is_reported_and_replaced() {
    let workload = Workload::new().await;
    let sidecar = workload.sidecar(vec![]);
    workload.until("/yes", "200").await;
    drop(sidecar);
    let kept = workload.world.path("p/policy.json");
    let good = std::fs::read(&kept).unwrap();
    let mut broken = serde_json::from_slice::<serde_json::Value>(&good).unwrap();
    broken["files"][0][1] = "package workload.authz\n\nallow if {".into();
    for (damaged, said) in [
        (good[..good.len() / 2].to_vec(), "the policy on disk is not readable"),
        (broken.to_string().into_bytes(), "does not load"),
    ] {
        std::fs::write(&kept, damaged).unwrap();
        let sidecar = workload.sidecar(vec![]);
        eventually(said, || sidecar.stderr().contains(said).then_some(()));
        workload.until("/yes", "200").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_cost_little_and_delay_no_other() {
    let workload = Workload::new().await;
    let sidecar = workload.sidecar(vec![]);
    workload.until("/yes", "200").await;
    let peak = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let dial = async || {
        let expected = ExpectedServer::Id(SpiffeId::parse(ID).unwrap());
        let dialer = Dialer { source: workload.source.tls.clone(), address: workload.inbound.clone(), expected, clock };
        dialer.connect(&[b"http/1.1"]).await.unwrap().stream
    };
    let (before, mut open) = (peak(), vec![]);
    for _ in 0..40 {
        // 64 MiB are on their way to a peer that takes none of them.
        let mut never_reads = dial().await;
        never_reads.write_all(b"GET /much HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        // And a body of a gibibyte, a byte of which comes now and then.
        let mut drips = dial().await;
        drips.write_all(b"POST /yes HTTP/1.1\r\nhost: a\r\ncontent-length: 1073741824\r\n\r\n").await.unwrap();
        open.extend([never_reads, drips]);
    }
    for _ in 0..20 {
        for stream in &mut open {
            let _closed = stream.write_all(b"a").await;
        }
        let asked = Instant::now();
        assert_eq!(workload.ask("/yes").await.unwrap().0, "200");
        assert!(asked.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(peak() < before + 64 * 1024, "{before} KiB, then {}", peak());
}
