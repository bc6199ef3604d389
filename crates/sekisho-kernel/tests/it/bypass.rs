use sekisho_kernel::bypass::{Outcome, run};

use crate::child::program;

#[test]
fn law_l15_no_technique_gets_past_the_rules() {
    crate::in_a_network("law_l15_no_technique_gets_past_the_rules", |_| {
        let report = run(&program).unwrap();
        let named = |outcome: Outcome| {
            let found = report.findings.iter().filter(|finding| finding.outcome == outcome);
            found.map(|finding| finding.technique).collect::<Vec<_>>()
        };
        for none in [Outcome::Bypassed, Outcome::Unclear] {
            assert!(named(none).is_empty(), "{:#?}", report.findings);
        }
        let beyond = ["packet", "leave-cgroup", "earlier-cgroup", "passed-socket", "unix-relay"];
        assert_eq!(named(Outcome::Beyond), beyond, "{:#?}", report.findings);
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
        let ring = if matches!(disabled.trim(), "" | "0") { Outcome::Blocked } else { Outcome::NotHere };
        let found = report.findings.iter().find(|finding| finding.technique == "tcp-io-uring").unwrap();
        assert_eq!(found.outcome, ring, "{found:?}");
        // Kernels differ in what they can do at all; most of it works on each.
        assert!(named(Outcome::NotHere).len() <= 6, "{:#?}", report.findings);
    });
}
