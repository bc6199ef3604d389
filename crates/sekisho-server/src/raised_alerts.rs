//! Alerts that are being written. Their ids hold the time at which they were raised, and one that was raised earlier
//! may be committed later. Who sends alerts in the order of their ids waits here, so that none is overtaken and left
//! out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sekisho_events::AlertId;
use sekisho_runtime::time_ordered_id;
use sekisho_types::UnixTime;
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct RaisedAlerts {
    /// How many alerts of each millisecond are not committed yet.
    open: Mutex<BTreeMap<i64, usize>>,
    changed: Notify,
}

/// An alert from its id to its commit.
pub(crate) struct RaisedAlert<'a> {
    of: &'a RaisedAlerts,
    at: i64,
    pub id: AlertId,
}

impl RaisedAlerts {
    /// An alert of this time, which never goes back.
    pub(crate) fn raise(&self, time: impl Fn() -> UnixTime) -> RaisedAlert<'_> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // The time before the id: the id's own is the same or later.
        let at = time().millis();
        *open.entry(at).or_default() += 1;
        RaisedAlert { of: self, at, id: AlertId::new(time_ordered_id(time())) }
    }

    /// Ids below this one are committed, or will never be. The time is that before this call.
    pub(crate) fn settled_below(&self, now: UnixTime) -> String {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.keys().next().copied().unwrap_or(i64::MAX).min(now.millis());
        format!("alr_{at:012x}")
    }

    /// Returns after the next alert was written. One that was written since the last call counts.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for RaisedAlert<'_> {
    fn drop(&mut self) {
        let mut open = self.of.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.at);
            }
        }
        self.of.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use crate::testbed::Testbed;

    #[tokio::test]
    async fn an_open_alert_holds_up_later_ones() {
        let bed = Testbed::new().await;
        let (alerts, time) = (&bed.domain.streams.alerts, || bed.domain.log.time());
        let first = alerts.raise(time);
        let pause = || std::thread::sleep(std::time::Duration::from_millis(2));
        pause();
        let second = alerts.raise(time);
        let (one, two) = (first.id.to_string(), second.id.to_string());
        drop(second);
        pause();
        assert!(one < two && alerts.settled_below(time()) <= one, "the first may still be committed");
        drop(first);
        assert!(alerts.settled_below(time()) > two);
    }
}
