//! Changes while a workload runs.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sekisho_kernel::bypass::{ALLOWED_PORT, DENIED_PORT};
use sekisho_kernel::{Direction, Enforcer, Fallback, KernelError, Mode, Ports, Protocol, Verdict};

use crate::child::Workload;
use crate::{LOCAL, in_a_network, is_refused_to, only, rule, to_port};

#[test]
fn law_l3_no_moment_is_without_a_policy() {
    in_a_network("law_l3_no_moment_is_without_a_policy", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let id = enforcer
            .attach(workload.cgroup.path(), &to_port(ALLOWED_PORT), Mode::Enforce, Fallback::KeepPolicy)
            .unwrap();
        let done = AtomicBool::new(false);
        let (to_allowed, to_denied) = (workload.udp4(), workload.udp4());
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| {
                let mut calls = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    assert!(!is_refused_to(&to_allowed, ALLOWED_PORT), "refused after {calls} calls");
                    assert!(is_refused_to(&to_denied, DENIED_PORT), "passed after {calls} calls");
                    calls += 1;
                }
                calls
            });
            // By another table each time: a row of its own, a block of addresses, nothing but the default.
            let block =
                rule("block", Direction::Out, "127.0.0.0/8", Protocol::Udp, Ports::one(ALLOWED_PORT), Verdict::Allow);
            for turn in 0..60 {
                let policy = if turn % 2 == 0 { only(vec![block.clone()]) } else { to_port(ALLOWED_PORT) };
                enforcer.replace(id, &policy).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            assert!(caller.join().unwrap() > 1000);
        });
    });
}

#[test]
fn attaching_disturbs_no_open_flow() {
    in_a_network("attaching_disturbs_no_open_flow", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let done = AtomicBool::new(false);
        let socket = workload.udp4();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    socket.send_to(b"goes on", (LOCAL, ALLOWED_PORT)).unwrap();
                }
            });
            for _ in 0..10 {
                let path = workload.cgroup.path();
                let id = enforcer.attach(path, &to_port(ALLOWED_PORT), Mode::Enforce, Fallback::KeepPolicy).unwrap();
                enforcer.detach(id).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn what_is_detached_leaves_the_kernel() {
    in_a_network("what_is_detached_leaves_the_kernel", |_| {
        let workload = Workload::start();
        let path = workload.cgroup.path();
        let mut enforcer = Enforcer::load().unwrap();
        let id = enforcer.attach(path, &only(Vec::new()), Mode::Enforce, Fallback::KeepPolicy).unwrap();
        assert!(is_refused_to(workload.udp4(), DENIED_PORT));
        let again = enforcer.attach(path, &only(Vec::new()), Mode::Enforce, Fallback::KeepPolicy);
        assert!(matches!(again, Err(KernelError::Governed)), "{again:?}");
        let inner = path.join("inner");
        std::fs::create_dir(&inner).unwrap();
        let nested = enforcer.attach(&inner, &only(Vec::new()), Mode::Enforce, Fallback::KeepPolicy);
        assert!(matches!(nested, Err(KernelError::Nested(_))), "{nested:?}");
        enforcer.detach(id).unwrap();
        assert!(!is_refused_to(workload.udp4(), DENIED_PORT));
        assert!(matches!(enforcer.detach(id), Err(KernelError::Unknown)));
        enforcer.attach(path, &only(Vec::new()), Mode::Enforce, Fallback::KeepPolicy).unwrap();
        assert!(is_refused_to(workload.udp4(), DENIED_PORT));
        drop(enforcer);
        assert!(!is_refused_to(workload.udp4(), DENIED_PORT));
    });
}

#[test]
fn only_the_given_cgroup_is_governed() {
    in_a_network("only_the_given_cgroup_is_governed", |_| {
        let (one, other) = (Workload::start(), Workload::start());
        let mut enforcer = Enforcer::load().unwrap();
        let (keep, enforce) = (Fallback::KeepPolicy, Mode::Enforce);
        enforcer.attach(one.cgroup.path(), &to_port(ALLOWED_PORT), enforce, keep).unwrap();
        assert!(is_refused_to(one.udp4(), DENIED_PORT) && !is_refused_to(other.udp4(), DENIED_PORT));
        enforcer.attach(other.cgroup.path(), &to_port(DENIED_PORT), enforce, keep).unwrap();
        assert!(is_refused_to(one.udp4(), DENIED_PORT) && !is_refused_to(other.udp4(), DENIED_PORT));
        assert!(!is_refused_to(one.udp4(), ALLOWED_PORT) && is_refused_to(other.udp4(), ALLOWED_PORT));
        let own = UdpSocket::bind((LOCAL, 0)).unwrap();
        assert!(!is_refused_to(&own, DENIED_PORT));
    });
}

#[test]
fn law_l3_a_silent_agent_leaves_the_fallback() {
    in_a_network("law_l3_a_silent_agent_leaves_the_fallback", |_| {
        let lapse = Duration::from_millis(30);
        for (fallback, new_passes, old_passes) in [
            (Fallback::KeepPolicy, true, true),
            (Fallback::DenyNew, false, true),
            (Fallback::DenyAll, false, false),
            (Fallback::DangerAllow, true, true),
        ] {
            let workload = Workload::start();
            let mut enforcer = Enforcer::load().unwrap();
            enforcer.attach(workload.cgroup.path(), &to_port(ALLOWED_PORT), Mode::Enforce, fallback).unwrap();
            enforcer.renew_lease(Duration::from_secs(60)).unwrap();
            let old = workload.udp4();
            rustix::net::connect(&old, &SocketAddr::from((LOCAL, ALLOWED_PORT))).unwrap();
            old.send(b"new").unwrap();
            assert!(is_refused_to(workload.udp4(), DENIED_PORT), "{fallback:?}: the lease runs");
            enforcer.renew_lease(lapse).unwrap();
            std::thread::sleep(lapse * 2);
            assert_eq!(!is_refused_to(workload.udp4(), ALLOWED_PORT), new_passes, "{fallback:?}");
            assert_eq!(old.send(b"old").is_ok(), old_passes, "{fallback:?}");
            assert_eq!(is_refused_to(workload.udp4(), DENIED_PORT), fallback != Fallback::DangerAllow, "{fallback:?}");
            // A word of the agent, and the policy is in force again.
            enforcer.renew_lease(Duration::from_secs(60)).unwrap();
            assert!(!is_refused_to(workload.udp4(), ALLOWED_PORT) && is_refused_to(workload.udp4(), DENIED_PORT));
        }
    });
}
