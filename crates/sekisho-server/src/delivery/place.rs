use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sekisho_identity::Node;
use sekisho_types::SpiffeId;

use super::index::{Bell, Index};
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

/// A stream's place among the others; it leaves when this is dropped.
pub(super) struct Place {
    streams: Arc<Streams>,
    bell: Arc<Bell>,
    number: u64,
}

impl Place {
    /// Takes the place of the stream that the agent had.
    pub(super) fn take(streams: &Arc<Streams>, agent: &SpiffeId) -> Self {
        let bell = Arc::new(Bell::default());
        let number = streams.index().enter(agent, &bell);
        Self { streams: streams.clone(), bell, number }
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
        self.bell.is_replaced()
    }

    pub(super) async fn rung(&self) {
        self.bell.rung().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.index().leave(self.number);
    }
}
