use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sekisho_identity::Node;
use sekisho_types::SpiffeId;

use super::index::{Index, StreamWaker};
use crate::view::View;

/// What streams share.
pub(super) struct Streams {
    pub view: Arc<View>,
    /// The server's own ID, the parent of aliases.
    pub server: SpiffeId,
    pub index: Mutex<Index>,
}

impl Streams {
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's slot in the index; dropping it removes the stream.
pub(super) struct StreamSlot {
    streams: Arc<Streams>,
    waker: Arc<StreamWaker>,
    number: u64,
}

impl StreamSlot {
    /// Replaces the stream that the agent had.
    pub(super) fn take(streams: &Arc<Streams>, agent: &SpiffeId) -> Self {
        let waker = Arc::new(StreamWaker::default());
        let number = streams.index().enter(agent, &waker);
        Self { streams: streams.clone(), waker, number }
    }

    pub(super) fn serve(&self, parents: &Arc<BTreeSet<SpiffeId>>, node: &Node) {
        self.streams.index().serve(self.number, parents, node);
    }

    pub(super) fn view(&self) -> &View {
        &self.streams.view
    }

    pub(super) fn server(&self) -> &SpiffeId {
        &self.streams.server
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.waker.is_replaced()
    }

    pub(super) async fn woken(&self) {
        self.waker.woken().await;
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.streams.index().leave(self.number);
    }
}
