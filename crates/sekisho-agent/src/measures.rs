//! What an agent measures of itself.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use sekisho_kernel::{InForce, records};
use sekisho_runtime::dangers;
use sekisho_runtime::metrics::registry::{
    APPLIED_REVISION, CONNECTED, DANGERS, NETWORK_LEFT_OUT, NETWORK_RULES, POLICY_REVISION, REQUIRED_REVISION,
    SPOOL_LOST, SPOOL_RECORDS, STREAMS, SVID_NOT_AFTER, SVIDS_HELD,
};

use crate::core::Core;

/// The metrics at each moment, in Prometheus' text format.
pub(crate) fn text(core: Arc<Core>) -> impl Fn() -> String + Send + Sync {
    move || {
        let (waiting, lost) = core.journal.spool.depth();
        let (revision, policy) =
            core.server_state.read(|state| (state.revision, state.policy.as_ref().map_or(0, |policy| policy.revision)));
        for (metric, value) in [
            (&SVID_NOT_AFTER, core.upstream.own().not_after.seconds() as f64),
            (&SVIDS_HELD, core.svids.len() as f64),
            (&STREAMS, f64::from(core.limits.streams.count())),
            (&CONNECTED, f64::from(u8::from(core.upstream.is_connected()))),
            (&SPOOL_RECORDS, waiting as f64),
            (&SPOOL_LOST, lost as f64),
            (&APPLIED_REVISION, revision as f64),
            (&REQUIRED_REVISION, *core.server_state.required.borrow() as f64),
            (&POLICY_REVISION, policy as f64),
            (&DANGERS, dangers().len() as f64),
        ] {
            core.metrics.set(metric, &[], value);
        }
        for (state, rules) in network_rules(Path::new(records::FOLDER)) {
            core.metrics.set(&NETWORK_RULES, &[state], rules);
        }
        core.metrics.set(&NETWORK_LEFT_OUT, &[], left_out(Path::new(records::FOLDER)));
        core.metrics.text(&[])
    }
}

/// Rules of the network, as the kernel has them. Records that cannot be read count as one rule: nothing goes unseen
/// (law L15).
fn network_rules(folder: &Path) -> [(&'static str, f64); 3] {
    let (mut in_force, mut missing, mut unchecked) = (0.0, 0.0, 0.0);
    match records::read(folder) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => unchecked = 1.0,
        Err(_) => missing = 1.0,
        Ok(records) => {
            for (number, rule) in
                records.iter().flat_map(|record| record.rules.iter().map(|rule| (record.number, rule)))
            {
                match rule.in_force(number) {
                    InForce::Yes { .. } => in_force += 1.0,
                    InForce::No => missing += 1.0,
                    InForce::Unknown(_) => unchecked += 1.0,
                }
            }
        }
    }
    [("in_force", in_force), ("missing", missing), ("unchecked", unchecked)]
}

/// What the rules do not govern, over all workloads.
fn left_out(folder: &Path) -> f64 {
    records::read(folder).map_or(0.0, |records| records.iter().map(|record| record.not_enforced.len() as f64).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l15_rules_that_are_gone_are_measured() {
        let folder = tempfile::tempdir().unwrap();
        let number = |found: [(&str, f64); 3]| found.map(|(_, rules)| rules);
        assert_eq!(number(network_rules(folder.path())), [0.0, 0.0, 0.0]);
        // Of a link that no kernel has.
        let record = r#"{"spiffe_id":"spiffe://td/a","cgroup":"/c","number":1,"holder":1,"kernel":"6.1",
            "generation":1,"judged":0,"denied":0,"not_enforced":["Unix sockets","packet sockets"],
            "rules":[{"rule":"out","allows":true,"allowed":0,"denied":0,"table":"exact flows","map":1,"digest":"",
            "points":[{"hook":"connect4","program":1,"tag":"00","link":4294967295}]}]}"#;
        std::fs::write(folder.path().join("1.json"), record).unwrap();
        let [in_force, missing, unchecked] = number(network_rules(folder.path()));
        assert_eq!((in_force, missing + unchecked), (0.0, 1.0));
        assert_eq!(left_out(folder.path()), 2.0);
        std::fs::write(folder.path().join("2.json"), "{}").unwrap();
        assert_eq!(number(network_rules(folder.path())), [0.0, 1.0, 0.0]);
    }
}
