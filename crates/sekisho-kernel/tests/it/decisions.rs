//! The kernel's tables beside the meaning of the rules, with policies and flows by seed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use sekisho_kernel::{
    Defaults, Direction, Enforcer, Event, Fallback, Mode, Network, Peers, Policy, Ports, Protocol, Rule, Verdict,
};

use crate::child::Workload;
use crate::is_refused;

/// Numbers by seed (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    /// Few bits vary, so that rules and flows meet.
    fn address(&mut self) -> IpAddr {
        let low = u16::try_from(self.below(16)).unwrap();
        let high = self.one(&[0_u8, 1, 128]);
        match self.below(7) {
            6 => self.one(&[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]),
            0 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, high.into(), 0, 0, 0, 0, low)),
            1 => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, high.into(), 0, 0, low)),
            2 => IpAddr::V4(Ipv4Addr::new(127, high, 0, u8::try_from(low).unwrap() + 1)),
            _ => IpAddr::V4(Ipv4Addr::new(10, high, 0, u8::try_from(low).unwrap() + 1)),
        }
    }

    fn port(&mut self) -> u16 {
        let any = u16::try_from(self.below(65535)).unwrap() + 1;
        self.one(&[80, 443, 444, 8080, 8081, 65535, any])
    }

    fn ports(&mut self) -> Ports {
        let (one, other) = (self.port(), self.port());
        match self.below(4) {
            0 => Ports::ALL,
            1 => Ports { first: one.min(other), last: one.max(other) },
            _ => Ports::one(one),
        }
    }

    fn network(&mut self) -> Network {
        let address = self.address();
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let bits = self.one(&[0, 8, 9, 16, 24, 31, 32, 64, 112, 127, 128, widest, widest]).min(widest);
        let first = match address {
            IpAddr::V4(a) => IpAddr::V4((a.to_bits() & u32::MAX.checked_shl(32 - bits).unwrap_or(0)).into()),
            IpAddr::V6(a) => IpAddr::V6((a.to_bits() & u128::MAX.checked_shl(128 - bits).unwrap_or(0)).into()),
        };
        format!("{first}/{bits}").parse().unwrap()
    }

    fn rule(&mut self, number: usize) -> Rule {
        let direction = self.one(&[Direction::Out, Direction::Out, Direction::In, Direction::Bind]);
        let (protocol, ports) = match self.below(8) {
            0 if direction != Direction::Bind => (Protocol::Icmp, Ports::ALL),
            1 | 2 => (Protocol::Any, self.ports()),
            3 | 4 => (Protocol::Tcp, self.ports()),
            _ => (Protocol::Udp, self.ports()),
        };
        let peers = if self.below(12) == 0 { Peers::Any } else { Peers::Of(self.network()) };
        let verdict = self.one(&[Verdict::Allow, Verdict::Allow, Verdict::Deny]);
        Rule { id: format!("rule-{number}"), direction, peers, protocol, ports, verdict }
    }

    fn policy(&mut self) -> Policy {
        let count = self.one(&[0, 1, 5, 40, 200]);
        let rules = (0..count).map(|number| self.rule(number)).collect();
        let both = [Verdict::Allow, Verdict::Deny];
        let defaults = Defaults { outward: self.one(&both), inward: self.one(&both), bind: self.one(&both) };
        Policy::new(rules, defaults).unwrap()
    }
}

const UNSPECIFIED: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// What the kernel decided last, in the words of the model.
fn decided<'a>(policy: &'a Policy, events: &[Event]) -> Option<(Verdict, Option<&'a str>)> {
    let event = events.last()?;
    let rule = event.rule.map(|rule| policy.rules()[rule as usize].id.as_str());
    Some((event.verdict, rule))
}

fn expected(policy: &Policy, direction: Direction, protocol: u8, peer: SocketAddr) -> (Verdict, Option<&str>) {
    let (verdict, rule) = policy.decide(direction, protocol, peer.ip(), peer.port());
    (verdict, rule.map(|rule| rule.id.as_str()))
}

#[test]
fn kernel_and_model_decide_calls_alike() {
    crate::in_a_network("kernel_and_model_decide_calls_alike", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let (mut numbers, mut allowed) = (Numbers(0x5eed), 0);
        for round in 0..40 {
            let policy = numbers.policy();
            let id = enforcer.attach(workload.cgroup.path(), &policy, Mode::Enforce, Fallback::KeepPolicy).unwrap();
            let (udp4, udp6, tcp4, tcp6) = (workload.udp4(), workload.udp6(), workload.tcp4(), workload.tcp6());
            enforcer.events();
            for _ in 0..150 {
                let ip = if numbers.below(12) == 0 { numbers.one(&UNSPECIFIED) } else { numbers.address() };
                let peer = SocketAddr::from((ip, numbers.port()));
                let is_tcp = numbers.below(2) == 0;
                let (socket, protocol) = match (is_tcp, peer.is_ipv4()) {
                    (true, true) => (tcp4.as_fd(), 6),
                    (true, false) => (tcp6.as_fd(), 6),
                    (false, true) => (udp4.as_fd(), 17),
                    (false, false) => (udp6.as_fd(), 17),
                };
                rustix::io::ioctl_fionbio(socket, true).unwrap();
                let call = rustix::net::connect(socket, &peer);
                let expected = expected(&policy, Direction::Out, protocol, peer);
                assert_eq!(is_refused(call), expected.0 == Verdict::Deny, "{round}: {peer}: {call:?}");
                let events = enforcer.events();
                let first = events.iter().find(|event| event.hook.name().starts_with("connect")).cloned();
                assert_eq!(decided(&policy, first.as_slice()), Some(expected), "{round}: {peer}: {events:?}");
                allowed += u32::from(expected.0 == Verdict::Allow);
                let _closed = rustix::net::connect_unspec(socket);
                enforcer.events();
            }
            enforcer.detach(id).unwrap();
        }
        assert!((1000..5000).contains(&allowed), "one-sided: {allowed} of 6000 are allowed");
    });
}

#[test]
fn kernel_and_model_decide_binds_alike() {
    crate::in_a_network("kernel_and_model_decide_binds_alike", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let mut numbers = Numbers(0xb19d);
        for round in 0..40 {
            let policy = numbers.policy();
            let id = enforcer.attach(workload.cgroup.path(), &policy, Mode::Enforce, Fallback::KeepPolicy).unwrap();
            for turn in 0..40 {
                let ip = if turn < 6 { numbers.one(&UNSPECIFIED) } else { numbers.address() };
                let local = SocketAddr::from((ip, numbers.port()));
                let socket = if ip.is_ipv4() { workload.tcp4() } else { workload.tcp6() };
                enforcer.events();
                let refused = is_refused(rustix::net::bind(&socket, &local));
                let mut expected = expected(&policy, Direction::Bind, 6, local);
                if ip == UNSPECIFIED[1] && expected.0 == Verdict::Allow {
                    let as_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, local.port()));
                    let (verdict, rule) = policy.decide(Direction::Bind, 6, as_ipv4.ip(), as_ipv4.port());
                    expected = (verdict, rule.map(|rule| rule.id.as_str()));
                }
                assert_eq!(refused, expected.0 == Verdict::Deny, "{round}: {local}");
                let events = enforcer.events();
                assert_eq!(decided(&policy, &events), Some(expected), "{round}: {local}: {events:?}");
            }
            enforcer.detach(id).unwrap();
        }
    });
}

/// A busy machine delivers a datagram some time after it was sent.
fn arrived(enforcer: &mut Enforcer) -> Vec<Event> {
    for _ in 0..400 {
        let events = enforcer.events();
        if !events.is_empty() {
            return events;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Vec::new()
}

#[test]
fn kernel_and_model_decide_callers_alike() {
    crate::in_a_network("kernel_and_model_decide_callers_alike", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let (mut numbers, mut passed) = (Numbers(0xca11), 0);
        let everything = Policy::new(Vec::new(), Defaults { bind: Verdict::Allow, ..Defaults::DENY }).unwrap();
        let id = enforcer.attach(workload.cgroup.path(), &everything, Mode::Enforce, Fallback::KeepPolicy).unwrap();
        let sockets = [80, 443, 8080].map(|port| {
            let socket = workload.udp4();
            rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            (socket, port)
        });
        for round in 0..40 {
            let policy = numbers.policy();
            enforcer.replace(id, &policy).unwrap();
            for _ in 0..12 {
                let caller = Ipv4Addr::new(127, numbers.one(&[0, 1, 128]), 0, numbers.one(&[1, 2, 7]));
                let from = UdpSocket::bind((caller, 0)).unwrap();
                let (socket, port) = numbers.one(&[&sockets[0], &sockets[1], &sockets[2]]);
                enforcer.events();
                from.send_to(b"?", (caller, *port)).unwrap();
                let expected = expected(&policy, Direction::In, 17, SocketAddr::from((caller, *port)));
                let events = arrived(&mut enforcer);
                assert_eq!(decided(&policy, &events), Some(expected), "{round}: {caller} to {port}: {events:?}");
                if expected.0 == Verdict::Allow {
                    socket.recv(&mut [0; 8]).unwrap();
                    passed += 1;
                } else {
                    socket.set_nonblocking(true).unwrap();
                    assert!(socket.recv(&mut [0; 8]).is_err(), "{round}: {caller} to {port}");
                    socket.set_nonblocking(false).unwrap();
                }
            }
        }
        assert!((50..430).contains(&passed), "one-sided: {passed} of 480 pass");
    });
}
