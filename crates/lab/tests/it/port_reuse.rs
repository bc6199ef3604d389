//! Another process writes a request, resets its connection, and the workload's next dial gets the same port.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use lab::{dial_from, reset};

use crate::world::{Role, TRUST_DOMAIN, World, digest, eventually, free_port, program};

/// The attacker is this test, which is of the workload's user and none of its family: what a user could tell apart is the
/// easier case.
#[test]
fn a_request_left_in_a_reset_connection_is_not_the_workloads_although_it_dials_from_that_port_next() {
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
    command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "info"]);
    command.arg("--agent-socket").arg(world.agent_socket()).arg("--data").arg(world.path("till"));
    command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/ledger"));
    command.env("CONTROL", &control).env("TO", &local).arg("--").arg(program("dialler"));
    let till = Role::start(&mut command);
    till.ready();
    let local: SocketAddr = local.parse().unwrap();
    let workload = eventually("the workload", || UnixStream::connect(&control).ok());
    let (mut says, mut answers) = (workload.try_clone().unwrap(), BufReader::new(workload).lines());

    let mut reused = 0;
    for round in 0..20 {
        // They keep the sidecar's checks busy.
        let junk: Vec<_> = (0..200).filter_map(|_| dial_from(([127, 0, 0, 9], 0).into(), local).ok()).collect();
        let mut other = dial_from(([127, 0, 0, 1], 0).into(), local).unwrap();
        let port = other.local_addr().unwrap().port();
        let forged = format!("GET /forged/{round} HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n");
        other.write_all(forged.as_bytes()).unwrap();
        // Between the sidecar's accept and its check.
        std::thread::sleep(Duration::from_millis(round));
        reset(other).unwrap();
        writeln!(says, "{port}").unwrap();
        reused += usize::from(answers.next().unwrap().unwrap() == "connected");
        std::thread::sleep(Duration::from_millis(50));
        drop(junk);
    }
    assert!(reused > 10, "the port was reused in {reused} rounds");
    // The workload's own requests are on record, and what was forged reached neither decision nor service.
    let records = eventually("the workload's requests are recorded", || {
        let records = world.json(&["decisions", "--limit", "1000"]).to_string();
        records.contains("balance").then_some(records)
    });
    assert!(!records.contains("forged"), "{records}");
}
