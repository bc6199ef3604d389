//! Sidecars: who may use them, what they refuse, and what they keep.

use std::net::TcpStream;

use serde_json::Value;

use crate::faults::Shim;
use crate::world::{Role, TRUST_DOMAIN, World, digest, eventually, free_port, program, raw};

/// A shop: `till` calls `ledger`, each behind a sidecar, under other names and ports than the samples' own.
struct Shop {
    till: Role,
    ledger: Role,
    world: World,
    inbound: String,
    local: String,
}

impl Shop {
    fn open() -> Self {
        Self::open_in(World::start())
    }

    fn open_in(world: World) -> Self {
        for (id, sample) in [("/shop/till", "payment-gateway"), ("/shop/ledger", "transactions")] {
            world.register(id, &[format!("unix:sha256:{}", digest(&program(sample)))]);
        }
        let (inbound, service, local) = (
            format!("127.0.0.1:{}", free_port()),
            format!("127.0.0.1:{}", free_port()),
            format!("127.0.0.1:{}", free_port()),
        );
        let options = ["--inbound", inbound.as_str(), "--upstream", service.as_str()];
        let given: Vec<_> =
            world.agent_environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let ledger = world.sidecar("ledger", "transactions", &options, &[&given[..], &[("LISTEN", &service)]].concat());
        assert_eq!(ledger.ready_as(), format!("spiffe://{TRUST_DOMAIN}/shop/ledger"));
        let outbound = format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/ledger");
        let environment = [("TRANSACTIONS_ADDRESS", local.as_str()), ("INTERVAL_SECONDS", "1")];
        let environment = [&given[..], &environment].concat();
        let till = world.sidecar("till", "payment-gateway", &["--outbound", &outbound], &environment);
        Self { world, ledger, till, inbound, local }
    }

    fn answer(&self, method: &str) -> Value {
        self.till.wait_for(|line| {
            let answer: Value = serde_json::from_str(line).ok()?;
            (answer["method"] == method && answer["status"].is_u64() && answer["status"] != 502).then_some(answer)
        })
    }
}

#[test]
fn one_call_is_allowed_and_one_denied() {
    let shop = Shop::open();
    let allowed = shop.answer("GET");
    assert_eq!(allowed["status"], 200, "{allowed}");
    let denied = shop.answer("POST");
    assert_eq!(denied["status"], 403, "{denied}");
    let id = denied["decision"].as_str().unwrap();
    let why = eventually("the decision reaches the server", || {
        let (code, out, _) = shop.world.sekisho(&["why", id, "-o", "json"]);
        (code == 2).then(|| serde_json::from_str::<Value>(&out).unwrap())
    });
    assert_eq!(why["rule"]["file"], "p.rego");
    assert_eq!(why["rule"]["unmet"][0]["condition"], "input.method == \"GET\"");
    assert_eq!(why["rule"]["unmet"][0]["found"], "\"POST\"");
    // Law L5: the proof carries the record and the path inside its batch.
    shop.world.text(&["prove", id, "--file", "d", "--trust-policy", "trust"]);
    let proof = shop.world.json(&["verify", "d", "--trust-policy", "trust"]);
    assert_eq!(proof["record"]["id"], id);
    assert_eq!(proof["leaf"]["kind"], "decision-batch");
    let health: Value = serde_json::from_str(&shop.world.sekisho(&["policy", "show", "-o", "json"]).1).unwrap();
    assert!(health["revision"].as_u64().unwrap() > 0);
}

#[test]
fn other_local_processes_cannot_use_the_sidecar() {
    let shop = Shop::open();
    shop.answer("GET");
    let request = "GET /v1/balance HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n";
    let borrowed = raw(&mut TcpStream::connect(&shop.local).unwrap(), request);
    assert_eq!(borrowed, "", "a process that is not the workload was answered");
    eventually("it is on record", || {
        let listed = shop.world.json(&["decisions", "--effect", "refusal"]);
        listed.to_string().contains("another process than the workload dialled").then_some(())
    });
    let plain = raw(&mut TcpStream::connect(&shop.inbound).unwrap(), request);
    assert!(!plain.contains("balance"), "{plain}");
}

#[test]
fn a_sidecar_stops_with_its_workload() {
    let mut shop = Shop::open();
    shop.answer("GET");
    let workload = eventually("the sidecar's child", || {
        let tasks = format!("/proc/{}/task", shop.ledger.pid());
        let lists = std::fs::read_dir(&tasks)
            .ok()?
            .flatten()
            .filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).next()
    });
    std::process::Command::new("kill").args(["-9", &workload]).status().unwrap();
    let status = eventually("the sidecar ends", || shop.ledger.child.try_wait().unwrap());
    // Its exit status is the workload's: 128 and the signal.
    assert_eq!(status.code(), Some(137));
    shop.till.wait_for(|line| {
        let answer: Value = serde_json::from_str(line).ok()?;
        (answer["status"] == 502).then_some(())
    });
}

#[test]
fn sidecars_decide_and_record_during_an_outage() {
    let mut shop = Shop::open();
    shop.answer("GET");
    shop.world.server.take().unwrap().kill();
    let offline = [shop.answer("GET"), shop.answer("POST")];
    assert_eq!((&offline[0]["status"], &offline[1]["status"]), (&200.into(), &403.into()));
    shop.world.start_server();
    for answer in offline {
        let id = answer["decision"].as_str().unwrap().to_owned();
        eventually("a decision made offline reaches the log", || {
            (shop.world.sekisho(&["why", &id]).0 != 1).then_some(())
        });
    }
}

#[test]
fn svids_rotate_with_no_failed_request() {
    let shim = Shim::new();
    let options = ["--x509-ttl", "20s"];
    let shop = Shop::open_in(World::with_environment(&options, shim.environment(), shim.environment()));
    shop.answer("GET");
    let (mut answers, mut failed) = (0, vec![]);
    // The gateway calls each second; four seconds pass meanwhile.
    for second in (4..=28).step_by(4) {
        shim.run_on(second, second);
        shop.world.wakes();
        let answer = shop.till.wait_for(|line| {
            let answer: Value = serde_json::from_str(line).ok()?;
            (answer["method"] == "GET").then_some(answer)
        });
        answers += 1;
        if answer["status"] != 200 {
            failed.push(answer);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(answers, 7);
    let issued = shop.world.json(&["svid", "list", "--limit", "100"]);
    let till =
        issued.as_array().unwrap().iter().filter(|row| row["spiffe_id"] == "spiffe://example.org/shop/till").count();
    assert!(till > 2, "{till} SVIDs in 28 s");
}
