//! Changes are submitted as values. What a change records counts once it is written.

use sekisho_store::{Batch, Committed, Conflict, Item, Store, StoreError};
use sekisho_types::{Revision, TrustDomain};

use crate::counters::Counts;
use crate::domain::{Domain, ServerMonitor};
use crate::outbox::Outbox;

/// The way of changes into the state, and what it takes of a trust domain.
#[derive(Clone, Copy)]
pub(crate) struct Writer<'a> {
    trust_domain: &'a TrustDomain,
    store: &'a dyn Store,
    outbox: &'a Outbox,
    watch: &'a ServerMonitor,
}

impl Domain {
    pub(crate) fn writer(&self) -> Writer<'_> {
        let Self { identity, store, log, watch, .. } = self;
        Writer { trust_domain: &identity.name, store: store.as_ref(), outbox: &log.outbox, watch }
    }
}

impl Writer<'_> {
    /// Writes one change that relies on nothing that the view says.
    pub(crate) async fn write<E>(self, item: impl Into<Item>) -> Result<Option<Revision>, E>
    where
        E: From<StoreError> + From<Conflict>,
    {
        Ok(self.all(vec![item.into()]).await?.only()?)
    }

    /// Writes changes together: one that conflicts keeps no other out. Refused while the log takes no leaves of
    /// changes.
    pub(crate) async fn all(self, items: Vec<Item>) -> Result<Committed, StoreError> {
        let counts: Vec<Counts> = items.iter().map(Counts::of).collect();
        if items.iter().any(|item| item.events().next().is_some()) {
            self.outbox.wait_for_capacity(items.iter().any(Item::revokes)).await?;
        }
        let committed = self.store.commit(Batch::new(self.trust_domain, items)).await;
        self.watch.health.stored(&committed);
        let committed = committed?;
        for (counts, outcome) in counts.iter().zip(&committed.outcomes) {
            if outcome.is_ok() {
                self.watch.counters.written(counts);
            }
        }
        Ok(committed)
    }
}
