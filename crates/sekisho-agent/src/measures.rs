//! What an agent measures of itself.

use std::sync::Arc;

use sekisho_runtime::dangers;
use sekisho_runtime::metrics::registry::{
    APPLIED_REVISION, CONNECTED, DANGERS, POLICY_REVISION, REQUIRED_REVISION, SPOOL_LOST, SPOOL_RECORDS, STREAMS,
    SVID_NOT_AFTER, SVIDS_HELD,
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
        core.metrics.text(&[])
    }
}
