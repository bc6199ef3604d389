//! Changes on their way to agents (decisions/0032). A commit finds the streams that it concerns by what they serve, and
//! wakes them; each reads from the log of recent changes what it lacks. All else sleeps.

mod catch_up;
mod feed;
mod index;
mod parts;
mod stream_slot;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sekisho_identity::Bundle;
use sekisho_runtime::now;
use sekisho_store::Delta;
use sekisho_types::SpiffeId;
use tokio::sync::{Notify, oneshot, watch};

pub(crate) use self::catch_up::Cursor;
pub(crate) use self::feed::{CloseReason, Feed, Position, Shown};
use self::index::Index;
use self::stream_slot::{StreamSlot, Streams};
use crate::concerned::Concerned;
use crate::view::View;

/// Not longer at a time: a clock that was set has to be noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

pub(crate) struct Delivery {
    streams: Arc<Streams>,
    /// Counts changes of agents.
    agents: watch::Sender<u64>,
    /// Counts bundles.
    bundles: watch::Sender<u64>,
    ends_changed: Notify,
}

impl Delivery {
    pub(crate) fn new(view: Arc<View>, server: SpiffeId) -> Self {
        let streams = Streams { view, server, index: Mutex::new(Index::default()) };
        let (agents, bundles) = (watch::channel(0).0, watch::channel(0).0);
        Self { streams: Arc::new(streams), agents, bundles, ends_changed: Notify::new() }
    }

    /// Brings the view to a committed batch and wakes those whom it concerns. Runs on the store's own thread, before
    /// the batch's caller goes on.
    pub(crate) fn committed(&self, delta: &Delta) {
        if delta.changes.is_empty() && delta.revision.is_none() {
            return;
        }
        let next_end = || self.streams.view.read(|state| state.expiries.next());
        let before = next_end();
        let concerned = self.streams.view.apply(delta.revision, &delta.changes);
        self.wake(&concerned);
        if next_end() != before {
            self.ends_changed.notify_one();
        }
    }

    /// Publishes a bundle.
    pub(crate) fn publish(&self, bundle: Bundle) {
        self.streams.view.set_bundle(bundle);
        self.wake(&Concerned { all: true, ..Concerned::default() });
        self.bundles.send_modify(|count| *count += 1);
    }

    fn wake(&self, concerned: &Concerned) {
        self.streams.index().wake(concerned);
        if !concerned.agents.is_empty() {
            self.agents.send_modify(|count| *count += 1);
        }
    }

    /// Opens an agent's stream, in the place of the one that it had.
    pub(crate) fn open(&self, shown: Shown, position: oneshot::Receiver<Option<Position>>) -> Feed {
        Feed::new(StreamSlot::take(&self.streams, &shown.agent), shown, position)
    }

    /// Changes whenever how some agent stands may have changed.
    pub(crate) fn agents(&self) -> watch::Receiver<u64> {
        self.agents.subscribe()
    }

    pub(crate) fn bundles(&self) -> watch::Receiver<u64> {
        self.bundles.subscribe()
    }

    /// Lets entries leave their agents when they end.
    pub(crate) async fn run_expiries(&self) {
        loop {
            let clock = now();
            self.wake(&self.streams.view.end(clock));
            let next = self.streams.view.read(|state| state.expiries.next());
            let nanos = next.map(|end| u64::try_from(end.nanos().saturating_sub(clock.nanos())).unwrap_or(0));
            let sleep =
                nanos.map_or(LONGEST_SLEEP, Duration::from_nanos).clamp(Duration::from_millis(1), LONGEST_SLEEP);
            tokio::select! {
                biased;
                () = self.ends_changed.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
