//! A change as a command prepares it: what it relies on and writes, what happens by it, and what its caller hears.
//! `run.rs` alone makes a batch of it.

use sekisho_events::Event;
use sekisho_store::{Expect, Item, Write};
use sekisho_types::{Revision, SpiffeId, TrustDomain};

use crate::domain::{Domain, Settings};
use crate::view::View;

/// What a change is prepared from, and a query answered.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub trust_domain: &'a TrustDomain,
    pub server_id: &'a SpiffeId,
    pub view: &'a View,
    pub settings: &'a Settings,
}

impl Domain {
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            trust_domain: &self.identity.name,
            server_id: &self.identity.server_id,
            view: &self.view,
            settings: &self.settings,
        }
    }
}

/// Made of the revision that the change got.
type Reply<T> = Box<dyn FnOnce(Option<Revision>) -> T + Send>;

pub(crate) struct Change<T> {
    item: Item,
    events: Vec<Event>,
    reply: Reply<T>,
}

impl<T: Send + 'static> Change<T> {
    /// Nothing yet, with this reply.
    pub(crate) fn with_reply(reply: T) -> Self {
        Self::with_reply_of(|_| reply)
    }

    pub(crate) fn with_reply_of(reply: impl FnOnce(Option<Revision>) -> T + Send + 'static) -> Self {
        Self { item: Item::default(), events: vec![], reply: Box::new(reply) }
    }
}

impl<T> Change<T> {
    #[must_use]
    pub(crate) fn expect(self, expect: Expect) -> Self {
        self.and(|item| item.expect(expect))
    }

    #[must_use]
    pub(crate) fn write(self, write: Write) -> Self {
        self.and(|item| item.write(write))
    }

    #[must_use]
    pub(crate) fn and(self, more: impl FnOnce(Item) -> Item) -> Self {
        Self { item: more(self.item), ..self }
    }

    /// Its leaf goes into the same transaction.
    #[must_use]
    pub(crate) fn event(mut self, event: impl Into<Event>) -> Self {
        self.events.push(event.into());
        self
    }

    pub(crate) fn into_parts(self) -> (Item, Vec<Event>, Reply<T>) {
        (self.item, self.events, self.reply)
    }
}
