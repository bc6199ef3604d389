//! Programs and rules on this machine's kernel, in cgroups and networks of their own.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may fail as loudly as tests do")]
#![expect(clippy::indexing_slicing, reason = "numbers by seed are below the length")]

mod build;
mod bypass;
mod changes;
mod child;
mod decisions;
mod failures;
mod flows;
mod speed;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use sekisho_kernel::bypass::{Listeners, scratch_network};
use sekisho_kernel::{
    Cgroup, Defaults, Direction, Network, Peers, Policy, Ports, Protocol, Rule, Verdict, capabilities,
};

/// Says that this test cannot run here, and why. `make test` lists these lines at its end.
fn skipped(test: &str, why: &str) {
    let line = format!("\nskipped: {test}: {why}\n");
    let _unread = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// Runs a test in a network of its own, if the kernel lets this process enforce anything.
fn in_a_network(test: &str, body: impl FnOnce(&Listeners) + Send + 'static) {
    let lacking = capabilities().into_iter().find(|capability| capability.required && !capability.present);
    if let Some(lacking) = lacking {
        return skipped(test, &format!("{}: {}", lacking.name, lacking.found));
    }
    if let Err(error) = Cgroup::scratch() {
        return skipped(test, &error.to_string());
    }
    let run = std::thread::spawn(move || body(&scratch_network().unwrap()));
    if let Err(failure) = run.join() {
        std::panic::resume_unwind(failure);
    }
}

fn rule(id: &str, direction: Direction, peers: &str, protocol: Protocol, ports: Ports, verdict: Verdict) -> Rule {
    let peers = if peers == "any" { Peers::Any } else { Peers::Of(peers.parse::<Network>().unwrap()) };
    Rule { id: id.to_owned(), direction, peers, protocol, ports, verdict }
}

/// Allows what is named, and denies all else.
fn only(rules: Vec<Rule>) -> Policy {
    Policy::new(rules, Defaults::DENY).unwrap()
}

/// Lets the workload call one port of 127.0.0.1, and serve another.
fn to_port(port: u16) -> Policy {
    only(vec![
        rule("out", Direction::Out, "127.0.0.1", Protocol::Any, Ports::one(port), Verdict::Allow),
        rule("serve", Direction::In, "127.0.0.0/8", Protocol::Any, Ports::one(9000), Verdict::Allow),
        rule("bind", Direction::Bind, "any", Protocol::Any, Ports::one(9000), Verdict::Allow),
    ])
}

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const SOON: Duration = Duration::from_millis(500);

/// Whether a call was refused by a program. Other errors mean that it passed.
fn is_refused(result: rustix::io::Result<()>) -> bool {
    result == Err(rustix::io::Errno::PERM)
}

fn is_refused_to(socket: impl AsFd, port: u16) -> bool {
    is_refused(rustix::net::connect(socket, &SocketAddr::from((LOCAL, port))))
}
