//! A pair of sidecars between a load generator and a service, and the same without them.

use std::process::Command;
use std::time::Duration;

use crate::measure::{Table, percentile, rss_mb};
use crate::world::{POLICY, Role, TRUST_DOMAIN, World, digest, eventually, free_port, program};

/// Requests in one measurement.
const REQUESTS: u32 = 200_000;

pub fn pair(table: &mut Table) {
    let Ok(h2load) = std::fs::canonicalize("/usr/bin/h2load") else {
        table.add("sidecar pair", "skipped: no h2load", "–");
        return;
    };
    let address = || format!("127.0.0.1:{}", free_port());
    for protocol in ["http1", "tcp"] {
        let world = World::start();
        let sh = std::fs::canonicalize("/bin/sh").unwrap();
        world.register("/shop/till", &[format!("unix:path:{}", sh.display())]);
        world.register("/shop/ledger", &[format!("unix:sha256:{}", digest(&program("transactions")))]);
        if protocol == "tcp" {
            world.set_policy(&POLICY.replace("\"GET\"", "\"TCP\"").replace("[\"v1\", \"balance\"]", "[]"));
        }
        let (inbound, service, local) = (address(), address(), address());
        let options = ["--protocol", protocol, "--inbound", inbound.as_str(), "--upstream", service.as_str()];
        let ledger = world.sidecar("ledger", "transactions", &options, &[("LISTEN", &service)]);
        ledger.ready();
        let load = |at: &str, out: &str, how: &str| {
            format!("{} --h1 {how} --log-file={out}.log http://{at}/v1/balance > {out} 2>&1", h2load.display())
        };
        let (full, steady) = (format!("-n {REQUESTS} -c 16"), "-n 10000 -c 16 --rps 62.5");
        let script = format!(
            "until curl -sf http://{local}/v1/balance > one; do sleep 0.1; done\n{}\n{}\n{}\n{}\ntouch done; sleep 60",
            load(&service, "direct", &full),
            load(&local, "paired", &full),
            load(&service, "direct-steady", steady),
            load(&local, "paired-steady", steady),
        );
        let mut command = Command::new(program("sekisho"));
        command.args([
            "proxy",
            "--trust-domain",
            TRUST_DOMAIN,
            "--log",
            "warn",
            "--protocol",
            protocol,
            "--agent-socket",
        ]);
        command.arg(world.agent_socket()).arg("--data").arg(world.path("till")).current_dir(world.folder.path());
        command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/ledger"));
        let till = Role::start(command.arg("--").arg(sh).args(["-c", &script]));
        let end = std::time::Instant::now() + Duration::from_secs(120);
        while !world.path("done").exists() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
        }
        eventually("the load is through", || world.path("done").exists().then_some(()));
        let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
        let (direct, paired) = (rate(&read("direct")), rate(&read("paired")));
        let peer = if protocol == "tcp" { "ghostunnel: 28,700" } else { "Envoy: 9,300; goal 30,000" };
        table.add(
            format!("sidecar pair, {protocol}, 16 connections"),
            format!("{paired:.0} per second, {}", latency(&mut times(&read("paired.log")))),
            format!("{:.2} of {direct:.0} without; {peer}", paired / direct),
        );
        let (mut without, mut with) = (times(&read("direct-steady.log")), times(&read("paired-steady.log")));
        table.add(
            format!("the same at 1,000 per second, {protocol}"),
            latency(&mut with),
            format!("{} without; peers p50: Envoy 1.5 ms, ghostunnel 0.6 ms", latency(&mut without)),
        );
        table.add(
            format!("RSS of the {protocol} sidecars: client's, service's"),
            format!("{:.0}, {:.0} MB", rss_mb(till.pid()), rss_mb(ledger.pid())),
            "goal 15 MB; ghostunnel 32, Envoy 69 for both",
        );
    }
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
