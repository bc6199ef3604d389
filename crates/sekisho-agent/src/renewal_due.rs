//! When a held SVID is to be renewed.

use std::time::Duration;

use sekisho_runtime::now;
use sekisho_types::UnixTime;

/// After a renewal that failed it is tried again this late.
const RETRY: Duration = Duration::from_secs(3);
/// Not longer at a time: a clock that was set, and a machine that slept, have to be noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// Returns when `at` has come. `None` stands for a failed renewal; so does what was due already.
pub(crate) async fn renewal_due(at: Option<UnixTime>) {
    let left = || u64::try_from(at?.millis().saturating_sub(now().millis())).ok().filter(|millis| *millis > 0);
    if left().is_none() {
        return tokio::time::sleep(RETRY).await;
    }
    while let Some(millis) = left() {
        tokio::time::sleep(Duration::from_millis(millis).min(LONGEST_SLEEP)).await;
    }
}
