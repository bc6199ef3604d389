//! Policies tried on what was decided: records of a real pair of sidecars, through the command line.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;

use crate::world::{POLICY, Role, World, digest, eventually, free_port, program, raw};

/// A service behind its sidecar, and a sidecar that calls it for this process.
pub(crate) struct Pair {
    pub world: World,
    inbound: String,
    local: String,
    _roles: [Role; 2],
}

impl Pair {
    pub fn start() -> Self {
        let world = World::start();
        world.register("/shop/till", &World::own_selectors());
        let measured = digest(&program("transactions"));
        world.register("/shop/ledger", &[format!("unix:sha256:{measured}")]);
        let free = || format!("127.0.0.1:{}", free_port());
        let (inbound, service, local) = (free(), free(), free());
        let options = ["--inbound", inbound.as_str(), "--upstream", service.as_str()];
        let ledger = world.sidecar("ledger", "transactions", &options, &[("LISTEN", &service)]);
        ledger.ready();
        let mut command = std::process::Command::new(program("sekisho"));
        command
            .args(["proxy", "--trust-domain", "example.org", "--log", "warn", "--agent-socket"])
            .arg(world.agent_socket());
        command.arg("--data").arg(world.path("till"));
        command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://example.org/shop/ledger"));
        let till = Role::start(command.arg("--workload-pid").arg(std::process::id().to_string()));
        till.ready();
        Self { world, inbound, local, _roles: [ledger, till] }
    }

    pub fn get(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(&self.local).unwrap();
        raw(&mut stream, &format!("GET {path} HTTP/1.1\r\nhost: ledger\r\n{headers}connection: close\r\n\r\n"))
    }

    /// Waits until the server has this many records of requests to `path`.
    pub fn recorded(&self, path: &str, count: usize) -> Vec<Value> {
        eventually("decisions reach the server", || {
            let listed = self.world.json(&["decisions", "--limit", "1000"]);
            let to = |row: &&Value| row["record"]["input"]["path"][1].as_str() == Some(path);
            let rows: Vec<Value> = listed.as_array()?.iter().filter(to).cloned().collect();
            (rows.len() >= count).then_some(rows)
        })
    }

    /// The connections between the sidecars that are open, by the port of their dialling end.
    fn connections(&self) -> BTreeSet<String> {
        let port: u16 = self.inbound.rsplit(':').next().unwrap().parse().unwrap();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let open = fields.filter(|fields| fields[2].ends_with(&format!(":{port:04X}")) && fields[3] == "01");
        open.map(|fields| fields[1].to_owned()).collect()
    }

    /// What a policy comes to, and the exit code.
    fn replay(&self, policy: &str) -> (Value, i32) {
        self.replay_with(policy, &[])
    }

    fn replay_with(&self, policy: &str, options: &[&str]) -> (Value, i32) {
        let folder = self.world.path("other");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::File::create(folder.join("p.rego")).unwrap().write_all(policy.as_bytes()).unwrap();
        let arguments = [&["policy", "replay", folder.to_str().unwrap(), "-o", "json"], options].concat();
        let (code, out, said) = self.world.sekisho(&arguments);
        (serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {said}")), code)
    }
}

/// How many decisions change so, of the caller.
fn changed(replayed: &Value, was: &str, becomes: &str) -> u64 {
    let rows = replayed["differences"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["was"] == was && row["becomes"] == becomes);
    rows.filter(|row| row["subject"] == "spiffe://example.org/shop/till")
        .map(|row| row["decisions"].as_u64().unwrap())
        .sum()
}

#[test]
fn a_replay_names_what_another_policy_would_change() {
    let pair = Pair::start();
    eventually("the policy is there", || pair.get("/v1/balance", "").contains(" 200 ").then_some(()));
    for _ in 0..5 {
        pair.get("/v1/balance", "");
        pair.get("/v1/elsewhere", "");
    }
    pair.recorded("elsewhere", 5);
    let (same, _) = pair.replay(POLICY);
    assert!(same["same"].as_u64().unwrap() >= 10, "{same}");
    // Before the policy came, everything was denied; those are the only differences that there may be.
    let early = same["differences"].as_array().unwrap().len();
    let (other, code) = pair.replay(&POLICY.replace("balance", "elsewhere"));
    assert_eq!(code, 2);
    assert!(other["differences"].as_array().unwrap().len() > early.min(1), "{other}");
    assert!(changed(&other, "allow", "deny") > 0 && changed(&other, "deny", "allow") > 0, "{other}");
}

#[test]
fn recorded_decisions_are_replayed_from_a_file() {
    let pair = Pair::start();
    eventually("the policy is there", || pair.get("/v1/balance", "").contains(" 200 ").then_some(()));
    pair.get("/v1/elsewhere", "");
    pair.recorded("elsewhere", 1);
    let (_, rows, _) = pair.world.sekisho(&["decision", "list", "--limit", "1000", "-o", "jsonl"]);
    let file = pair.world.path("decisions.jsonl");
    let replay = |rows: &str, policy: &str| {
        std::fs::write(&file, rows).unwrap();
        // A server that does not answer is not asked.
        let nowhere = pair.world.path("nowhere");
        let options = ["--recorded", file.to_str().unwrap(), "--server-socket", nowhere.to_str().unwrap()];
        pair.replay_with(policy, &options)
    };
    let other = POLICY.replace("balance", "elsewhere");
    assert_eq!(replay(&rows, &other).0["differences"], pair.replay(&other).0["differences"]);
    assert_eq!(replay(&rows, &other).1, 2);
    let allowed: String =
        rows.lines().filter(|row| row.contains("\"effect\":\"allow\"")).collect::<Vec<_>>().join("\n");
    let (same, code) = replay(&allowed, POLICY);
    assert!(code == 0 && same["same"].as_u64().unwrap() > 0, "{same}");
    std::fs::write(&file, format!("{allowed}\n{{}}\n")).unwrap();
    let (code, _, said) =
        pair.world.sekisho(&["policy", "replay", "other", "--recorded", file.to_str().unwrap(), "-o", "json"]);
    let line = allowed.lines().count() + 1;
    assert!(code == 1 && said.contains(&format!("line {line} of ")), "{said}");
}

#[test]
fn law_l12_revoking_one_end_closes_pooled_connections() {
    let pair = Pair::start();
    let passes = || pair.get("/v1/balance", "").contains(" 200 ").then_some(());
    eventually("the policy is there", passes);
    for end in ["ledger", "till"] {
        eventually("a request passes", passes);
        let pooled = pair.connections();
        assert!(!pooled.is_empty(), "{end}: a connection waits for the next request");
        let id = format!("spiffe://example.org/shop/{end}");
        pair.world.text(&["revocation", "create", "--spiffe-id", &id, "--reason", "key leaked", "--yes"]);
        let closed = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !pair.connections().is_disjoint(&pooled) {
            assert!(std::time::Instant::now() < closed, "{end}: a pooled connection outlives the revocation");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // The entry stays, and its next SVID is good.
    }
    eventually("requests pass with new SVIDs", passes);
}

const READS: &str = r#"package workload.authz

default allow := false

allow if {
	input.method == "GET"
	input.path == ["v1", "balance"]
	startswith(input.headers.authorization, "Bearer ")
	endswith(input.headers.authorization, "-good")
	not contains(input.query, "admin")
	count(input.headers["x-note"]) > 3000
}

allow if input.path == ["v1", "open"]
"#;

/// Masked headers, query values and cut headers that the policy reads, and an Authorization header that none reads.
#[test]
fn a_replay_is_exact_over_hidden_values() {
    let pair = Pair::start();
    pair.world.set_policy(READS);
    eventually("the policy is there", || (!pair.get("/v1/open", "").contains(" 403 ")).then_some(()));
    let note = "n".repeat(4_000);
    for (token, query, times) in [
        ("Bearer s3cret-good", "token=s3cret", 4),
        ("Bearer s3cret-bad", "token=s3cret", 3),
        ("Basic s3cret-good", "token=s3cret", 2),
        ("Bearer s3cret-good", "admin=s3cret", 1),
    ] {
        for _ in 0..times {
            pair.get(&format!("/v1/balance?{query}"), &format!("authorization: {token}\r\nx-note: {note}\r\n"));
        }
    }
    let records = pair.recorded("balance", 10);
    assert_eq!(records.iter().filter(|row| row["effect"] == "allow").count(), 4, "{records:?}");
    assert!(!serde_json::to_string(&records).unwrap().contains("s3cret"));
    assert_eq!(records[0]["record"]["answers"]["headers.authorization"].as_str().unwrap().len(), 2, "{}", records[0]);

    let (same, _) = pair.replay(READS);
    assert_eq!((&same["uncertain"], changed(&same, "allow", "deny")), (&Value::from(0), 0), "{same}");
    // The policy that decided is an earlier revision by now; the server still has what it asked.
    pair.world.set_policy("package workload.authz\n\nallow if input.path == [\"never\"]\n");
    let before = changed(&same, "deny", "allow");
    let (turned, code) = pair.replay(&READS.replace("\tendswith(", "\tnot endswith("));
    assert_eq!((&turned["uncertain"], code), (&Value::from(0), 2), "{turned}");
    assert_eq!((changed(&turned, "allow", "deny"), changed(&turned, "deny", "allow") - before), (4, 3), "{turned}");
    // Nothing that is hidden is read.
    let (open, _) = pair.replay("package workload.authz\n\nallow if input.path[0] == \"v1\"\n");
    assert_eq!((&open["uncertain"], changed(&open, "allow", "deny")), (&Value::from(0), 0), "{open}");
    assert_eq!(changed(&open, "deny", "allow") - before, 6, "{open}");
    // What no record answers is uncertain, with the place and the rule.
    let lowered = "lower(input.headers.authorization) == \"bearer s3cret-good\"";
    let asks =
        format!("package workload.authz\n\nallow if {{\n\tinput.path == [\"v1\", \"balance\"]\n\t{lowered}\n}}\n");
    let (uncertain, _) = pair.replay(&asks);
    let expected = serde_json::json!([{"place": "headers.authorization", "rule": "p.rego:5", "decisions": 10}]);
    assert_eq!((&uncertain["uncertain_for"], &uncertain["uncertain"]), (&expected, &Value::from(10)), "{uncertain}");
}
