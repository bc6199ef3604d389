//! What a sidecar measures of itself.

use sekisho_runtime::dangers;
use sekisho_runtime::metrics::registry::{DANGERS, POLICY_REVISION, SPOOL_LOST, SPOOL_RECORDS, SVID_NOT_AFTER};
use sekisho_sdk::IdentitySource;

use crate::deciding::Deciding;

/// The metrics at each moment, in Prometheus' text format.
pub(crate) fn text(deciding: Deciding, identity: IdentitySource) -> impl Fn() -> String + Send + Sync {
    move || {
        let metrics = deciding.decider.metrics();
        let ends = identity.held.borrow().as_ref().map_or(0, |held| held.not_after.seconds());
        metrics.set(&SVID_NOT_AFTER, &[], ends as f64);
        let (waiting, lost) = deciding.spool.depth();
        metrics.set(&SPOOL_RECORDS, &[], waiting as f64);
        metrics.set(&SPOOL_LOST, &[], lost as f64);
        let revision = deciding.policy_revision().unwrap_or(0);
        metrics.set(&POLICY_REVISION, &[], revision as f64);
        metrics.set(&DANGERS, &[], dangers().len() as f64);
        metrics.text(&[])
    }
}
