use std::sync::Arc;

use sekisho_identity::Entry;
use sekisho_runtime::now;
use sekisho_types::{EntryId, SpiffeId};

use crate::caller::{AgentCaller, Operator};
use crate::change::Facts;
use crate::entry_page::Page;
use crate::query::ViewQuery;

/// Which entries: those with this SPIFFE ID and this parent, of them those that `admits` lets through.
pub(crate) struct Listed<F> {
    pub spiffe_id: Option<SpiffeId>,
    pub parent_id: Option<SpiffeId>,
    pub admits: F,
}

/// A page of entries in the order of their ids, behind `after`.
pub(crate) struct ListEntries<F> {
    pub listed: Listed<F>,
    pub after: Option<EntryId>,
    pub limit: usize,
}

impl<F: Fn(&Entry) -> bool + Send> ViewQuery for ListEntries<F> {
    type Caller = Operator;
    type Reply = Page;

    fn see(self, of: Facts<'_>, _: &Operator) -> Page {
        let Listed { spiffe_id, parent_id, admits } = self.listed;
        of.view.read(|state| {
            Page::of(state.list(spiffe_id.as_ref(), parent_id.as_ref(), self.after.as_ref()), self.limit, admits)
        })
    }
}

pub(crate) struct CountEntries<F>(pub Listed<F>);

impl<F: Fn(&Entry) -> bool + Send> ViewQuery for CountEntries<F> {
    type Caller = Operator;
    type Reply = usize;

    fn see(self, of: Facts<'_>, _: &Operator) -> usize {
        let Self(Listed { spiffe_id, parent_id, admits }) = self;
        of.view.read(|state| {
            state.list(spiffe_id.as_ref(), parent_id.as_ref(), None).filter(|entry| admits(entry)).count()
        })
    }
}

pub(crate) struct ShowEntry(pub EntryId);

impl ViewQuery for ShowEntry {
    type Caller = Operator;
    type Reply = Option<Arc<Entry>>;

    fn see(self, of: Facts<'_>, _: &Operator) -> Self::Reply {
        of.view.read(|state| state.entries.get(&self.0).cloned())
    }
}

/// The entries that an agent may serve now.
pub(crate) struct AuthorizedEntries;

impl ViewQuery for AuthorizedEntries {
    type Caller = AgentCaller;
    type Reply = Vec<Arc<Entry>>;

    fn see(self, of: Facts<'_>, agent: &AgentCaller) -> Self::Reply {
        of.view.read(|state| state.authorized(&agent.node, of.server_id, now()))
    }
}
