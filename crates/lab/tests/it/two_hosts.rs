//! The two-host quick start (docs/two-hosts.md), in two network namespaces.

use std::process::Command;

use crate::world::{POLICY, Role, digest, eventually, program};

/// Two hosts with a wire between them; gone when dropped.
struct Hosts {
    names: [String; 2],
    folder: tempfile::TempDir,
}

impl Hosts {
    fn new() -> Option<Self> {
        let id = std::process::id();
        let names = [format!("sek{id}a"), format!("sek{id}b")];
        let new = Self { names, folder: tempfile::Builder::new().prefix("sek").tempdir_in("/tmp").unwrap() };
        let [a, b] = &new.names;
        let (wire_a, wire_b) = (format!("sek{}a", id % 100_000), format!("sek{}b", id % 100_000));
        let script = format!(
            "ip netns add {a}; ip netns add {b}
             ip link add {wire_a} netns {a} type veth peer name {wire_b} netns {b}
             ip -n {a} addr add 10.87.0.1/24 dev {wire_a}; ip -n {b} addr add 10.87.0.2/24 dev {wire_b}
             for n in {a} {b}; do ip -n $n link set lo up; done
             ip -n {a} link set {wire_a} up; ip -n {b} link set {wire_b} up"
        );
        let made = Command::new("sh").arg("-ec").arg(script).output().ok()?;
        if !made.status.success() {
            crate::world::skipped(&format!("no network namespaces here: {}", String::from_utf8_lossy(&made.stderr)));
            return None;
        }
        Some(new)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A command on host 0 or 1.
    fn on(&self, host: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[host]]).arg(program("sekisho")).args(arguments);
        command.current_dir(self.folder.path());
        command
    }

    /// The command line on A against the server there.
    fn ask(&self, arguments: &[&str]) -> String {
        let socket = self.path("server/api.sock");
        let output = self.on(0, arguments).args(["--server-socket", &socket]).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            let _gone = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

#[test]
fn the_two_host_quick_start_works_as_written() {
    let Some(hosts) = Hosts::new() else { return };
    std::fs::create_dir(hosts.path("policy")).unwrap();
    std::fs::write(hosts.path("policy/p.rego"), POLICY).unwrap();
    let data = hosts.path("server");
    let server = [
        "server",
        "--trust-domain",
        "example.org",
        "--log",
        "warn",
        "--listen",
        "10.87.0.1:8081",
        "--policy-folder",
        "policy",
    ];
    let server = Role::start(hosts.on(0, &server).args(["--data", &data]));
    server.ready();
    let fingerprint = hosts.ask(&["bundle", "show", "--form", "fingerprint"]);
    let mut agents = vec![];
    let mut ids = vec![];
    for host in 0..2 {
        let (token, data) = (hosts.path(&format!("token-{host}")), hosts.path(&format!("agent-{host}")));
        let made = hosts.ask(&["token", "create", "--file", &token, "-o", "json"]);
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        ids.push(made["agent_id"].as_str().unwrap().to_owned());
        let agent = ["agent", "--trust-domain", "example.org", "--log", "warn", "--server", "10.87.0.1:8081"];
        let mut command = hosts.on(host, &agent);
        command.args([
            "--join-token-file",
            &token,
            "--fingerprint",
            fingerprint.lines().next().unwrap(),
            "--data",
            &data,
        ]);
        let agent = Role::start(&mut command);
        agent.ready();
        agents.push(agent);
    }
    let sh = std::fs::canonicalize("/bin/sh").unwrap().display().to_string();
    let service = format!("unix:sha256:{}", digest(&program("transactions")));
    for (id, parent, selector) in [("shop/ledger", &ids[0], service), ("shop/till", &ids[1], format!("unix:path:{sh}"))]
    {
        let id = format!("spiffe://example.org/{id}");
        hosts.ask(&["entry", "create", "--spiffe-id", &id, "--parent-id", parent, "--selector", &selector]);
    }
    let proxy = |host: usize, name: &str| {
        let mut command =
            hosts.on(host, &["proxy", "--trust-domain", "example.org", "--log", "warn", "--agent-socket"]);
        command.arg(hosts.path(&format!("agent-{host}/agent.sock"))).args(["--data", &hosts.path(name)]);
        command
    };
    let mut ledger = proxy(0, "ledger");
    ledger.args(["--inbound", "10.87.0.1:9443", "--upstream", "127.0.0.1:8080", "--"]).arg(program("transactions"));
    let ledger = Role::start(ledger.env("LISTEN", "127.0.0.1:8080"));
    ledger.ready();
    let script = "until curl -sf http://127.0.0.1:8000/v1/balance > answer.new; do sleep 0.1; done; mv answer.new answer; sleep 60";
    let mut till = proxy(1, "till");
    till.args([
        "--outbound",
        "127.0.0.1:8000=10.87.0.1:9443=spiffe://example.org/shop/ledger",
        "--",
        &sh,
        "-c",
        script,
    ]);
    let _till = Role::start(&mut till);
    let answer = eventually("the client on B is served by A", || std::fs::read_to_string(hosts.path("answer")).ok());
    assert!(answer.contains("spiffe://example.org/shop/till"), "{answer}");
    let decided = eventually("the decision is listed", || {
        let listed = hosts.ask(&["decisions", "--effect", "allow", "-o", "json"]);
        listed.contains("spiffe://example.org/shop/till").then_some(listed)
    });
    assert!(decided.contains("/v1/balance") || decided.contains("balance"));
}
