use std::sync::Arc;

use sekisho_events::{AgentBanned, Leaf, Personal};
use sekisho_identity::{Entry, Node};
use sekisho_types::{EntryId, Revision, Selector, SelectorSet, SpiffeId, TrustDomain, UnixTime};

use crate::{Batch, Conflict, Expect, Item, Store, Write};

pub(super) fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(super) fn id(path: &str) -> SpiffeId {
    domain().workload(path).unwrap()
}

pub(super) fn at(seconds: i64) -> UnixTime {
    UnixTime::from_seconds(1_800_000_000 + seconds)
}

pub(super) fn entry_id(name: &str) -> EntryId {
    EntryId::parse(name).unwrap()
}

pub(super) fn entry(name: &str, parent: &str, path: &str) -> Entry {
    let selectors = SelectorSet::from([Selector::parse("unix:uid:7").unwrap()]);
    Entry { created_at: at(0), ..Entry::new(entry_id(name), id(path), id(parent), selectors) }
}

pub(super) fn node(path: &str, serial: &str) -> Node {
    Node {
        id: id(path),
        attestation_type: "join_token".into(),
        serial: serial.into(),
        previous_serial: None,
        expires_at: at(900),
        attested_at: at(0),
        evidence_ends_at: None,
        selectors: SelectorSet::new(),
        banned: false,
        can_reattest: false,
        version: String::new(),
        remembered: None,
    }
}

pub(super) fn leaf(name: &str) -> Leaf {
    let (agent, by) = (Personal::new(id("/a"), [7; 32]), Personal::new(name.to_owned(), [7; 32]));
    let banned = AgentBanned { agent, by };
    Leaf::new(domain(), at(0), banned)
}

/// The creation of an entry, as a server does it.
pub(super) fn creation(name: &str, parent: &str, path: &str) -> Item {
    let entry = Arc::new(entry(name, parent, path));
    Item::default()
        .expect(Expect::Unregistered(entry.clone()))
        .expect(Expect::NoEntry(entry.id.clone()))
        .write(Write::PutEntry(entry))
}

pub(super) fn recorded(name: &str) -> Item {
    Item::default().record(leaf(name))
}

pub(super) async fn commit(store: &dyn Store, item: impl Into<Item>) -> Result<Option<Revision>, Conflict> {
    store.commit(Batch::of(&domain(), item)).await.unwrap().only()
}

pub(super) async fn written(store: &dyn Store, item: impl Into<Item>) -> Option<Revision> {
    commit(store, item).await.unwrap()
}
