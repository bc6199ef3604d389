//! What is refused, lost or lacking is stated.

use std::path::Path;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use sekisho_kernel::bypass::DENIED_PORT;
use sekisho_kernel::{Enforcer, Fallback, KernelError, Mode, capabilities};

use crate::child::Workload;
use crate::{in_a_network, is_refused_to, only};

fn with_capabilities<T: Send + 'static>(own: CapabilitySet, body: impl FnOnce() -> T + Send + 'static) -> T {
    // Capabilities belong to a thread.
    let thread = std::thread::spawn(move || {
        let sets = CapabilitySets { effective: own, permitted: own, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).unwrap();
        body()
    });
    thread.join().unwrap()
}

#[test]
fn three_capabilities_are_enough() {
    in_a_network("three_capabilities_are_enough", |_| {
        let own = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
        let workload = Workload::start();
        let workload = with_capabilities(own, move || {
            let mut enforcer = Enforcer::load().unwrap();
            let path = workload.cgroup.path();
            enforcer.attach(path, &only(Vec::new()), Mode::Enforce, Fallback::KeepPolicy).unwrap();
            assert!(is_refused_to(workload.udp4(), DENIED_PORT));
            workload
        });
        // These three would not be enough to remove its cgroup.
        drop(workload);
    });
}

#[test]
fn law_l15_a_lacking_privilege_is_an_error() {
    in_a_network("law_l15_a_lacking_privilege_is_an_error", |_| {
        let refused = with_capabilities(CapabilitySet::NET_ADMIN, || Enforcer::load().map(|_| ()));
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("CAP_BPF"), "{error}");
        let kinds = with_capabilities(CapabilitySet::BPF, capabilities);
        let lacking: Vec<&str> = kinds.iter().filter(|one| one.required && !one.present).map(|one| one.name).collect();
        assert!(lacking.contains(&"CAP_NET_ADMIN") && lacking.contains(&"programs cgroup/sock_create"), "{kinds:?}");
    });
}

#[test]
fn law_l15_another_folder_is_not_a_cgroup() {
    in_a_network("law_l15_another_folder_is_not_a_cgroup", |_| {
        let mut enforcer = Enforcer::load().unwrap();
        for path in ["/tmp", "/sys/fs/cgroup/none"] {
            let refused =
                enforcer.attach(Path::new(path), &only(Vec::new()), Mode::Enforce, Fallback::KeepPolicy).unwrap_err();
            assert!(matches!(refused, KernelError::NoCgroup { .. }), "{refused}");
        }
    });
}

#[test]
fn law_l5_lost_events_are_counted() {
    in_a_network("law_l5_lost_events_are_counted", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let path = workload.cgroup.path();
        enforcer.attach(path, &only(Vec::new()), Mode::Enforce, Fallback::KeepPolicy).unwrap();
        let socket = workload.udp4();
        const CALLS: u64 = 6000;
        for _ in 0..CALLS {
            assert!(is_refused_to(&socket, DENIED_PORT));
        }
        let counted = enforcer.counters().unwrap();
        let read = enforcer.events().len() as u64;
        assert_eq!((counted.judged, counted.denied), (CALLS, CALLS));
        assert!(counted.lost_events > 0 && read > 3000, "{counted:?}");
        assert_eq!(read + counted.lost_events, CALLS, "{counted:?}");
        assert!(is_refused_to(&socket, DENIED_PORT));
        assert_eq!(enforcer.events().len(), 1, "there is space again");
    });
}
