//! Metrics, alerts and dashboards: what is generated is in the repository, and a real Prometheus takes it and answers
//! each query.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use lab::monitoring::{alerts, dashboards, files};
use sekisho_runtime::metrics::registry::{ALL, Program, named};
use serde_json::Value;

use crate::world::{Role, TRUST_DOMAIN, World, digest, eventually, free_port, manifest_folder, program, skipped};

fn root() -> PathBuf {
    manifest_folder().join("../..")
}

#[test]
fn generated_files_follow_the_registry() {
    for (name, text) in files() {
        let found = std::fs::read_to_string(root().join(&name)).unwrap_or_default();
        assert!(found == text, "{name} is out of date: `cargo xtask gen`");
    }
}

#[test]
fn promtool_passes_the_rules_and_their_tests() {
    if Command::new("promtool").arg("--version").output().is_err() {
        return skipped("no promtool here (deploy/setup.sh test)");
    }
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let output =
            Command::new("promtool").args(arguments).current_dir(root().join("deploy/prometheus")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}

fn exchange(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: &str, path: &str) -> String {
    exchange(TcpStream::connect(address).unwrap(), path)
}

/// Names, types and help of what is shown are those of the registry.
fn is_registered(text: &str, of: Program) {
    let mut shown = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP sekisho_")) {
        let (name, help) = line.split_once(' ').unwrap();
        let metric = named(name).unwrap_or_else(|| panic!("{name} is not in the registry"));
        assert_eq!(metric.help, help, "{name}");
        assert!(metric.of.contains(&of), "{name}");
        assert!(text.contains(&format!("# TYPE sekisho_{name} {}\n", metric.kind.name())), "{name}");
        shown.insert(name.to_owned());
    }
    // A histogram has no sample before its first event, and no node of this system was tampered with.
    shown.insert("attestation_detect_seconds".to_owned());
    let missing: Vec<_> = ALL.iter().filter(|metric| metric.of.contains(&of) && !shown.contains(metric.name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A shop with one call a second, allowed or denied, whose programs serve metrics.
struct Shop {
    world: World,
    sidecars: [Role; 2],
    scraped: [String; 4],
}

fn shop() -> Shop {
    let address = || format!("127.0.0.1:{}", free_port());
    let scraped: [String; 4] = std::array::from_fn(|_| address());
    let variable = |at: usize| vec![("SEKISHO_METRICS".to_owned(), scraped[at].clone())];
    let world = World::with_environment(&[], variable(0), variable(1));
    for (id, sample) in [("/shop/till", "payment-gateway"), ("/shop/ledger", "transactions")] {
        world.register_with(id, &[format!("unix:sha256:{}", digest(&program(sample)))], &["--x509-ttl", "10s"]);
    }
    let (inbound, service, local) = (address(), address(), address());
    let options = ["--inbound", inbound.as_str(), "--upstream", service.as_str(), "--metrics", scraped[2].as_str()];
    let ledger = world.sidecar("ledger", "transactions", &options, &[("LISTEN", &service)]);
    ledger.ready();
    let outbound = format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/ledger");
    let environment = [("TRANSACTIONS_ADDRESS", local.as_str()), ("INTERVAL_SECONDS", "1")];
    let till =
        world.sidecar("till", "payment-gateway", &["--outbound", &outbound, "--metrics", &scraped[3]], &environment);
    till.ready();
    Shop { world, sidecars: [ledger, till], scraped }
}

#[test]
fn prometheus_answers_each_query_of_the_dashboards() {
    if Command::new("prometheus").arg("--version").output().is_err() {
        return skipped("no prometheus here (deploy/setup.sh test)");
    }
    let shop = shop();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n\
         - job_name: sekisho\n  static_configs:\n  - targets: {:?}\n",
        root().join("deploy/prometheus/alerts.yml").canonicalize().unwrap().display(),
        shop.scraped
    );
    std::fs::write(shop.world.path("prometheus.yml"), config).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("prometheus");
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=warn"]);
    let _prometheus =
        Role::start(command.arg(format!("--web.listen-address={address}")).current_dir(shop.world.folder.path()));
    let value = |query: &str| -> Value {
        let Ok(stream) = TcpStream::connect(&address) else { return Value::Null };
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = exchange(stream, &format!("/api/v1/query?query={encoded}"));
        let Some((_, body)) = answer.split_once("\r\n\r\n") else { return Value::Null };
        serde_json::from_str(body.trim()).unwrap_or(Value::Null)
    };
    eventually("two scrapes of allowed and denied calls", || {
        let both = "count(count by (effect) (rate(sekisho_decisions_total[5m]) > 0)) == 2";
        let found = value(&format!(r#"{both} and on () sekisho_detect_seconds_count{{kind="deny"}}"#));
        (!found["data"]["result"].as_array()?.is_empty()).then_some(())
    });
    for dashboard in dashboards::ALL {
        for (query, _) in dashboard.panels.iter().flat_map(|panel| panel.queries) {
            // A rate needs two scrapes of each program.
            eventually(&format!("{}: {query}", dashboard.file), || {
                let found = value(query);
                let some = found["data"]["result"].as_array().is_some_and(|all| !all.is_empty());
                (found["status"] == "success" && some).then_some(())
            });
        }
    }
    for alert in alerts::ALL {
        assert_eq!(value(alert.expr)["status"], "success", "{}", alert.name);
    }
    for (address, of) in shop.scraped.iter().zip([Program::Server, Program::Agent, Program::Sidecar]) {
        is_registered(&get(address, "/metrics"), of);
    }
    let decided = get(&shop.scraped[2], "/metrics");
    let ids = format!("spiffe://{TRUST_DOMAIN}/shop");
    let denied = format!(r#"sekisho_decisions_total{{src="{ids}/till",dst="{ids}/ledger",effect="deny",rule="#);
    assert!(decided.contains(&denied), "{decided}");
    drop(shop.sidecars);
}

#[test]
fn metrics_are_private_unless_an_address_is_given() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::start();
    let socket = world.path("a/metrics.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    eventually("the agent reports that it is connected", || {
        let text = exchange(UnixStream::connect(&socket).unwrap(), "/metrics");
        text.contains("\nsekisho_connected 1\n").then_some(())
    });
    let refused = Command::new(program("sekisho"))
        .args(["agent", "--trust-domain", TRUST_DOMAIN, "--metrics", "0.0.0.0:9"])
        .output();
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
}
