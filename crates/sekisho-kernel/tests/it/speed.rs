//! What a call costs. Not a test: it prints.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures real time, and shows it")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use sekisho_kernel::{
    Defaults, Direction, Enforcer, Fallback, Mode, Network, Peers, Policy, Ports, Protocol, Rule, Verdict,
};

use crate::child::Workload;
use crate::in_a_network;

const CALLS: u32 = 20_000;
/// Fewer than the ring buffer has space for.
const AT_ONCE: u32 = 2_500;
const TURNS: usize = 41;

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | number)
}

/// Allows UDP to everyone, beside rules that name as many addresses.
fn policy(rules: u32, ports: Ports) -> Policy {
    let hosts = (0..rules).map(|number| Rule {
        id: format!("rule-{number}"),
        direction: Direction::Out,
        peers: Peers::Of(Network::host(address(number).into())),
        protocol: Protocol::Udp,
        ports,
        verdict: Verdict::Allow,
    });
    Policy::new(hosts.collect(), Defaults { outward: Verdict::Allow, ..Defaults::DENY }).unwrap()
}

fn thread_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Nanoseconds of one call, to as many peers in turn. Reports are read outside of what is measured.
fn cost(socket: &UdpSocket, enforcer: &mut Enforcer, peers: u32, stride: u32) -> i64 {
    let addresses: Vec<SocketAddr> =
        (0..peers).map(|number| SocketAddr::from((address(number * stride), 7000))).collect();
    let mut spent = 0;
    for turn in 0..CALLS / AT_ONCE {
        let start = thread_ns();
        for call in turn * AT_ONCE..(turn + 1) * AT_ONCE {
            rustix::net::connect(socket.as_fd(), &addresses[(call % peers) as usize]).unwrap();
        }
        spent += thread_ns() - start;
        enforcer.events();
    }
    spent / i64::from(CALLS)
}

/// Nanoseconds of one datagram on a flow that is known.
fn packet_cost(socket: &UdpSocket) -> i64 {
    socket.connect((address(1), 7500)).unwrap();
    let start = thread_ns();
    for _ in 0..CALLS {
        socket.send(&[0; 64]).unwrap();
    }
    (thread_ns() - start) / i64::from(CALLS)
}

fn median(mut times: Vec<i64>) -> i64 {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The median of each, and of what it adds to the first in the same turn.
fn show(what: &str, names: &[&str], times: &[Vec<i64>]) {
    for (name, own) in names.iter().zip(times) {
        let added = own.iter().zip(&times[0]).map(|(own, first)| own - first).collect();
        println!("{what}, {name}: {} ns, {:+} ns", median(own.clone()), median(added));
    }
}

#[test]
#[ignore = "it measures, and takes a minute"]
fn the_cost_of_a_call() {
    in_a_network("the_cost_of_a_call", |_| {
        // Every address of 10.0.0.0/8 is this machine's own, so that a call does all of its work.
        let route =
            std::process::Command::new("ip").args(["route", "add", "local", "10.0.0.0/8", "dev", "lo"]).status();
        assert!(route.unwrap().success());
        let sets: [(&str, Option<Policy>); 6] = [
            ("no programs", None),
            ("no rules", Some(policy(0, Ports::one(7000)))),
            ("100 exact flows", Some(policy(100, Ports::one(7000)))),
            ("100000 exact flows", Some(policy(100_000, Ports::one(7000)))),
            ("100 blocks", Some(policy(100, Ports::ALL))),
            ("100000 blocks", Some(policy(100_000, Ports::ALL))),
        ];
        let mut enforcers = Vec::new();
        for (name, policy) in sets {
            let (workload, mut enforcer) = (Workload::start(), Enforcer::load().unwrap());
            let start = std::time::Instant::now();
            let id = policy.as_ref().map(|policy| {
                let path = workload.cgroup.path();
                enforcer.attach(path, policy, Mode::Enforce, Fallback::KeepPolicy).unwrap()
            });
            let attached = start.elapsed();
            let start = std::time::Instant::now();
            if let (Some(id), Some(policy)) = (id, &policy) {
                enforcer.replace(id, policy).unwrap();
            }
            println!("{name}: attached in {attached:?}, replaced in {:?}", start.elapsed());
            let socket = workload.udp4();
            enforcers.push((name, socket, enforcer, workload));
        }
        // It reads nothing: its buffer is full soon, and each datagram costs the same.
        let _sink = UdpSocket::bind((address(1), 7500)).unwrap();
        let mut times = vec![Vec::new(); enforcers.len()];
        for _ in 0..TURNS {
            for ((_, socket, enforcer, _), times) in enforcers.iter_mut().zip(&mut times) {
                times.push(packet_cost(socket));
                enforcer.events();
            }
        }
        let names: Vec<&str> = enforcers.iter().map(|(name, ..)| *name).collect();
        show("a datagram", &names, &times);
        for (peers, stride) in [(1, 1), (4096, 24)] {
            let mut times = vec![Vec::new(); enforcers.len()];
            for _ in 0..TURNS {
                for ((_, socket, enforcer, _), times) in enforcers.iter_mut().zip(&mut times) {
                    times.push(cost(socket, enforcer, peers, stride));
                }
            }
            show(&format!("a call to {peers} peers in turn"), &names, &times);
        }
    });
}
