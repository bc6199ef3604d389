//! Other processes at a workload's outbound TCP port. They are of its user and none of its family: what a user could
//! tell apart is the easier case.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use lab::{dial_from, reset};

use crate::world::{Role, TRUST_DOMAIN, World, digest, eventually, free_port, program};

/// The workload `dialler` behind its sidecar, and a service behind another.
struct Dialler {
    says: Lines<BufReader<UnixStream>>,
    orders: UnixStream,
    local: SocketAddr,
    _till: Role,
    _ledger: Role,
    world: World,
}

impl Dialler {
    fn open() -> Self {
        let world = World::start();
        let own_user = format!("unix:uid:{}", rustix::process::geteuid().as_raw());
        world.register("/shop/till", &[own_user, format!("unix:sha256:{}", digest(&program("dialler")))]);
        world.register("/shop/ledger", &[format!("unix:sha256:{}", digest(&program("transactions")))]);
        let address = || format!("127.0.0.1:{}", free_port());
        let (inbound, service, local, control) = (address(), address(), address(), world.path("control"));
        let options = ["--inbound", inbound.as_str(), "--upstream", service.as_str()];
        let ledger = world.sidecar("ledger", "transactions", &options, &[("LISTEN", &service)]);
        ledger.ready();
        let mut command = Command::new(program("sekisho"));
        command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn"]);
        command.arg("--agent-socket").arg(world.agent_socket()).arg("--data").arg(world.path("till"));
        command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/ledger"));
        command.env("CONTROL", &control).env("TO", &local).arg("--").arg(program("dialler"));
        let till = Role::start(&mut command);
        till.ready();
        let orders = eventually("the workload", || UnixStream::connect(&control).ok());
        let says = BufReader::new(orders.try_clone().unwrap()).lines();
        Self { says, orders, local: local.parse().unwrap(), _till: till, _ledger: ledger, world }
    }

    /// The workload dials from `port` and asks.
    fn order(&mut self, port: u16) -> String {
        writeln!(self.orders, "{port}").unwrap();
        self.says.next().unwrap().unwrap()
    }

    /// Connections that this test has open there.
    fn crowd(&self, size: usize) -> Vec<std::net::TcpStream> {
        (0..size).filter_map(|_| dial_from(([127, 0, 0, 9], 0).into(), self.local).ok()).collect()
    }
}

#[test]
fn a_reset_connections_request_is_not_the_workloads() {
    let mut dialler = Dialler::open();
    let mut reused = 0;
    for round in 0..20 {
        // They keep the sidecar's checks busy.
        let crowd = dialler.crowd(200);
        let mut other = dial_from(([127, 0, 0, 1], 0).into(), dialler.local).unwrap();
        let port = other.local_addr().unwrap().port();
        let forged = format!("GET /forged/{round} HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n");
        other.write_all(forged.as_bytes()).unwrap();
        // Between the sidecar's accept and its check.
        std::thread::sleep(Duration::from_millis(round));
        reset(other).unwrap();
        reused += usize::from(dialler.order(port) != "failed");
        drop(crowd);
    }
    assert!(reused > 10, "the port was reused in {reused} rounds");
    // The workload's own requests are on record, and what was forged reached neither decision nor service.
    let records = eventually("the workload's requests are recorded", || {
        let records = dialler.world.json(&["decisions", "--limit", "1000"]).to_string();
        records.contains("balance").then_some(records)
    });
    assert!(!records.contains("forged"), "{records}");
}

#[test]
fn connections_of_other_processes_do_not_delay_workloads() {
    let mut dialler = Dialler::open();
    eventually("the workload is served", || dialler.order(0).starts_with("answered").then_some(()));
    let mut longest = 0;
    for _ in 0..5 {
        let crowd = dialler.crowd(800);
        assert!(crowd.len() > 700);
        let said = dialler.order(0);
        let waited: u64 = said.strip_prefix("answered ").expect(&said).parse().unwrap();
        longest = longest.max(waited);
    }
    println!("the workload waited {longest} ms at most");
    assert!(longest < 5000, "{longest} ms");
}
