//! Streams in one process: agents that read, stop, go and come back, against a state that changes, starts again and is
//! put back.

mod bench;
mod random;
mod streams;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::{Bundle, Entry, Node, held_digest};
use sekisho_ports::{Fabric, Machine};
use sekisho_proto::{entry_from_wire, server as wire};
use sekisho_runtime::{now, random_bytes};
use sekisho_store::{Batch, Epoch, MemoryStore, Store, Write};
use sekisho_types::{EntryId, Revision, Selector, SpiffeId, TrustDomain, UnixTime};
use tokio::sync::oneshot;

use super::{CloseReason, Cursor, Delivery, Feed, Position, Shown};
use crate::recent::{KEPT, Since};
use crate::view::View;

/// Runs on a simulated machine: its time passes when nothing else happens, and its randomness is the seed's.
fn simulated<T>(seed: u64, work: impl Future<Output = T>) -> T {
    let machine = Machine::new(seed, [10, 0, 0, 1].into(), &Fabric::new(seed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    machine.enter(|| {
        runtime.block_on(async {
            machine.begin(Duration::ZERO);
            work.await
        })
    })
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn id(path: &str) -> SpiffeId {
    domain().workload(path).unwrap()
}

fn entry(name: &str, parent: &str, path: &str) -> Entry {
    let selectors = [Selector::parse("unix:uid:7").unwrap()];
    Entry::new(EntryId::parse(name).unwrap(), id(path), id(parent), selectors.into())
}

fn node(path: &str, selectors: &[&str]) -> Node {
    Node {
        id: id(path),
        attestation_type: "test".into(),
        serial: "1".into(),
        previous_serial: None,
        expires_at: UnixTime::from_seconds(i64::MAX / 2_000_000_000),
        attested_at: UnixTime::default(),
        evidence_ends_at: None,
        selectors: selectors.iter().map(|text| Selector::parse(text).unwrap()).collect(),
        banned: false,
        can_reattest: true,
        version: String::new(),
        remembered: None,
    }
}

/// A server's state, its view and its streams: one run.
struct Run {
    store: MemoryStore,
    view: Arc<View>,
    delivery: Arc<Delivery>,
}

impl Run {
    async fn begin(store: MemoryStore) -> Self {
        let view = Arc::new(View::new(Bundle::empty(domain())));
        let delivery = Arc::new(Delivery::new(view.clone(), id("/spire/server")));
        store.commit(Batch::of(&domain(), Write::BeginEpoch(Epoch(random_bytes())))).await.unwrap();
        let past = store.past(&domain(), KEPT).await.unwrap();
        view.fill(store.snapshot(&domain()).await.unwrap(), past);
        let hears = delivery.clone();
        store.observe(Box::new(move |delta| hears.committed(delta)));
        let ends = delivery.clone();
        tokio::spawn(async move { ends.run_expiries().await });
        Self { store, view, delivery }
    }

    async fn write(&self, write: Write) {
        self.store.commit(Batch::of(&domain(), write)).await.unwrap();
    }

    async fn put(&self, entry: Entry) {
        self.write(Write::PutEntry(Arc::new(entry))).await;
    }

    async fn node(&self, node: Node) {
        self.write(Write::PutNode(Arc::new(node))).await;
    }

    fn authorized(&self, agent: &SpiffeId) -> BTreeMap<EntryId, Entry> {
        let found = self.view.read(|state| {
            let node = state.nodes.get(agent).unwrap();
            state.authorized(node, &id("/spire/server"), now())
        });
        found.into_iter().map(|entry| (entry.id.clone(), (*entry).clone())).collect()
    }
}

/// An agent that does what the real one does with what it is sent.
struct Agent {
    id: SpiffeId,
    feed: Option<Feed>,
    held: BTreeMap<EntryId, Entry>,
    position: Option<(Vec<u8>, u64)>,
    policy: u64,
}

impl Agent {
    fn new(path: &str) -> Self {
        Self { id: id(path), feed: None, held: BTreeMap::new(), position: None, policy: 0 }
    }

    fn connect(&mut self, run: &Run) {
        let parents = self.held.values().map(|entry| entry.parent_id.clone()).collect();
        let position = self.position.clone().map(|(epoch, revision)| Position {
            epoch: Epoch(epoch.try_into().unwrap()),
            cursor: Cursor {
                since: Since::Revision(Revision(revision)),
                parents: Arc::new(parents),
                bundle_sequence: Some(0),
                policy_revision: self.policy,
            },
        });
        println!(
            "{} connects at {:?}, holding {:?}",
            self.id,
            position.as_ref().map(|p| p.cursor.since),
            self.held.keys()
        );
        let (send, first) = oneshot::channel();
        send.send(position).unwrap();
        let shown = Shown { agent: self.id.clone(), serial: "1".into(), ends: now().plus_seconds(1_000_000) };
        self.feed = Some(run.delivery.open(shown, first));
    }

    /// The next message, if one comes without a wait.
    async fn next(&mut self) -> Option<Result<wire::WatchResponse, CloseReason>> {
        let feed = self.feed.as_mut()?;
        tokio::time::timeout(Duration::from_millis(1), feed.next()).await.ok().flatten()
    }

    fn apply(&mut self, message: &wire::WatchResponse) {
        println!("{} is sent {message:?}", self.id);
        if message.complete {
            self.held.clear();
        }
        let gone = |entry: &Entry| {
            message.removed_entry_ids.contains(&entry.id.as_str().to_owned())
                || message.removed_parent_ids.contains(&entry.parent_id.to_string())
        };
        self.held.retain(|_, entry| !gone(entry));
        for one in &message.entries {
            let id = EntryId::parse(&one.id).unwrap();
            self.held.insert(id.clone(), entry_from_wire(one, &id, None).unwrap());
        }
        let before = self.position.take().map(|(epoch, _)| epoch);
        let epoch = if message.epoch.is_empty() { before.unwrap() } else { message.epoch.clone() };
        self.position = Some((epoch, message.revision));
        self.policy = message.policy.as_ref().map_or(self.policy, |policy| policy.revision);
        assert!(!message.more, "few entries come in one message");
        if !message.held_sha256.is_empty() {
            let held = held_digest(self.held.values());
            assert!(
                held.as_bytes()[..] == message.held_sha256[..],
                "{} holds {:#?} by {message:#?}",
                self.id,
                self.held
            );
        }
    }

    /// Reads all that there is.
    async fn read(&mut self) -> Vec<wire::WatchResponse> {
        let mut out = vec![];
        while let Some(message) = self.next().await {
            let Ok(message) = message else {
                self.feed = None;
                return out;
            };
            self.apply(&message);
            out.push(message);
        }
        out
    }
}
