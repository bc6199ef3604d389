//! Which stream serves which parents: a change finds the streams that it concerns without a look at the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sekisho_identity::{Entry, Node};
use sekisho_types::{Selector, SelectorSet, SpiffeId};
use tokio::sync::Notify;

use crate::concerned::Concerned;

/// Wakes one stream.
#[derive(Default)]
pub(super) struct StreamWaker {
    notify: Notify,
    replaced: AtomicBool,
}

impl StreamWaker {
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Whether another stream of the same agent has taken this one's place.
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
        self.notify.notify_one();
    }
}

struct Stream {
    agent: SpiffeId,
    /// What it was found by last.
    serves: Arc<BTreeSet<SpiffeId>>,
    selectors: SelectorSet,
    waker: Arc<StreamWaker>,
}

/// The streams, by the numbers in which they came.
#[derive(Default)]
pub(super) struct Index {
    streams: BTreeMap<u64, Stream>,
    by_agent: BTreeMap<SpiffeId, u64>,
    by_parent: BTreeMap<SpiffeId, BTreeSet<u64>>,
    by_selector: BTreeMap<Selector, BTreeSet<u64>>,
    last: u64,
}

impl Index {
    /// Takes a stream in, in the place of the one that its agent had.
    pub(super) fn enter(&mut self, agent: &SpiffeId, waker: &Arc<StreamWaker>) -> u64 {
        if let Some(before) = self.by_agent.get(agent).copied()
            && let Some(stream) = self.leave(before)
        {
            stream.replace();
        }
        self.last += 1;
        self.by_agent.insert(agent.clone(), self.last);
        let (agent, waker) = (agent.clone(), waker.clone());
        self.streams.insert(self.last, Stream { agent, serves: Arc::default(), selectors: SelectorSet::new(), waker });
        self.last
    }

    pub(super) fn leave(&mut self, number: u64) -> Option<Arc<StreamWaker>> {
        let stream = self.streams.remove(&number)?;
        self.by_agent.remove(&stream.agent);
        stream.serves.iter().for_each(|parent| unlink(&mut self.by_parent, parent, number));
        stream.selectors.iter().for_each(|selector| unlink(&mut self.by_selector, selector, number));
        Some(stream.waker)
    }

    /// From now on the stream is found by these parents, and by what its node proved.
    pub(super) fn serve(&mut self, number: u64, serves: &Arc<BTreeSet<SpiffeId>>, node: &Node) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let (gone, come) = (stream.serves.difference(serves), serves.difference(&stream.serves));
        relink(&mut self.by_parent, gone, come, number);
        let (gone, come) = (stream.selectors.difference(&node.selectors), node.selectors.difference(&stream.selectors));
        relink(&mut self.by_selector, gone, come, number);
        stream.serves = serves.clone();
        if stream.selectors != node.selectors {
            stream.selectors = node.selectors.clone();
        }
    }

    /// Wakes those that a change concerns; how many.
    pub(super) fn wake(&self, concerned: &Concerned) -> usize {
        if concerned.all {
            self.streams.values().for_each(|stream| stream.waker.notify.notify_one());
            return self.streams.len();
        }
        let found = self.concerned(concerned);
        found.iter().filter_map(|number| self.streams.get(number)).for_each(|stream| stream.waker.notify.notify_one());
        found.len()
    }

    fn concerned(&self, concerned: &Concerned) -> BTreeSet<u64> {
        let mut found: BTreeSet<u64> =
            concerned.agents.iter().filter_map(|id| self.by_agent.get(id)).copied().collect();
        found.extend(concerned.parents.iter().filter_map(|parent| self.by_parent.get(parent)).flatten());
        concerned.aliases.iter().for_each(|alias| found.extend(self.selected(alias)));
        found
    }

    /// The streams whose nodes an alias selects: looks at those alone that have its rarest selector.
    fn selected(&self, alias: &Entry) -> impl Iterator<Item = u64> {
        let having = alias.selectors.iter().map(|selector| self.by_selector.get(selector));
        // No node has one of them, or there is none.
        let rarest = having.min_by_key(|streams| streams.map_or(0, BTreeSet::len)).flatten();
        let has_all = |number: &&u64| {
            self.streams.get(*number).is_some_and(|stream| alias.selectors.is_subset(&stream.selectors))
        };
        rarest.into_iter().flatten().filter(has_all).copied()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }
}

fn relink<'a, K: Ord + Clone + 'a>(
    index: &mut BTreeMap<K, BTreeSet<u64>>,
    gone: impl Iterator<Item = &'a K>,
    come: impl Iterator<Item = &'a K>,
    number: u64,
) {
    gone.for_each(|key| unlink(index, key, number));
    for key in come {
        index.entry(key.clone()).or_default().insert(number);
    }
}

fn unlink<K: Ord>(index: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, number: u64) {
    if let Some(numbers) = index.get_mut(key) {
        numbers.remove(&number);
        if numbers.is_empty() {
            index.remove(key);
        }
    }
}
