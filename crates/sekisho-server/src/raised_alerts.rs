//! Alerts that are being written. Their ids hold the time at which they were raised, and one that was raised earlier may
//! be committed later. Who sends alerts in the order of their ids waits here, so that none is overtaken and left out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sekisho_events::AlertId;
use tokio::sync::Notify;

use crate::domain::Log;

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
    pub(crate) fn raise(&self, log: &Log) -> RaisedAlert<'_> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // The time before the id: the id's own is the same or later.
        let at = log.time().millis();
        *open.entry(at).or_default() += 1;
        RaisedAlert { of: self, at, id: AlertId::new(log.new_id()) }
    }

    /// Ids below this one are committed, or will never be.
    pub(crate) fn settled_below(&self, log: &Log) -> String {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.keys().next().copied().unwrap_or(i64::MAX).min(log.time().millis());
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
        let (alerts, log) = (&bed.domain.streams.alerts, &bed.domain.log);
        let first = alerts.raise(log);
        let pause = || std::thread::sleep(std::time::Duration::from_millis(2));
        pause();
        let second = alerts.raise(log);
        let (one, two) = (first.id.to_string(), second.id.to_string());
        drop(second);
        pause();
        assert!(one < two && alerts.settled_below(log) <= one, "the first may still be committed");
        drop(first);
        assert!(alerts.settled_below(log) > two);
    }
}
