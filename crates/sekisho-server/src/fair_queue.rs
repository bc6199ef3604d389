//! A fair queue for work that takes the processor: all callers get the same share, however much each asks for (law L9).
//!
//! Work is cut into pieces of under a millisecond, such as one signature, and each piece needs a permit. There are as
//! many permits as threads. Waiting pieces are served round-robin by key. So an agent that asks for a thousand
//! identities waits for its own, and another agent's single identity waits for a piece or two.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Items of a request that are processed with one permit: less than a millisecond for a CSR or a signature each.
const IN_A_TURN: usize = 4;

pub(crate) struct FairQueue<K: Ord + Clone>(Arc<Mutex<State<K>>>);

struct State<K: Ord + Clone> {
    /// Permits that are not taken.
    free: usize,
    waiting: BTreeMap<K, VecDeque<oneshot::Sender<Permit<K>>>>,
    /// Waiting keys, each once, in the order in which they are served.
    order: VecDeque<K>,
}

impl<K: Ord + Clone> State<K> {
    fn next(&mut self) -> Option<oneshot::Sender<Permit<K>>> {
        let key = self.order.pop_front()?;
        let mut own = self.waiting.remove(&key)?;
        let next = own.pop_front();
        if !own.is_empty() {
            self.waiting.insert(key.clone(), own);
            self.order.push_back(key);
        }
        next
    }
}

/// A permit. When it is dropped, the next waiting piece gets it.
pub(crate) struct Permit<K: Ord + Clone>(Option<Arc<Mutex<State<K>>>>);

impl<K: Ord + Clone> FairQueue<K> {
    /// A queue with `at_once` permits.
    pub(crate) fn new(at_once: usize) -> Self {
        let state = State { free: at_once.max(1), waiting: BTreeMap::new(), order: VecDeque::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Does a piece of work when `key` has a permit.
    pub(crate) async fn run<T>(&self, key: K, work: impl FnOnce() -> T) -> T {
        let permit = self.take(key).await;
        let done = work();
        // Many pieces of one request are one task: without this its thread would serve nothing else before the last of
        // them.
        tokio::task::yield_now().await;
        drop(permit);
        done
    }

    /// Does the same to each of `items`, a few with each permit.
    pub(crate) async fn each<I, T>(&self, key: &K, items: Vec<I>, mut work: impl FnMut(I) -> T) -> Vec<T> {
        let (mut items, mut done) = (items.into_iter(), vec![]);
        while items.len() > 0 {
            let some = || done.extend(items.by_ref().take(IN_A_TURN).map(&mut work));
            self.run(key.clone(), some).await;
        }
        done
    }

    async fn take(&self, key: K) -> Permit<K> {
        let waits = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.free > 0 {
                state.free -= 1;
                None
            } else {
                let (sender, waits) = oneshot::channel();
                let own = state.waiting.entry(key.clone()).or_default();
                own.push_back(sender);
                if own.len() == 1 {
                    state.order.push_back(key);
                }
                Some(waits)
            }
        };
        let permit = match waits {
            Some(waits) => waits.await.ok(),
            None => None,
        };
        permit.unwrap_or_else(|| Permit(Some(self.0.clone())))
    }
}

impl<K: Ord + Clone> Drop for Permit<K> {
    fn drop(&mut self) {
        let Some(state) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                let next = state.next();
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(Self(Some(state.clone()))) {
                Ok(()) => return,
                // Its request was dropped while it waited.
                Err(mut permit) => drop(permit.0.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn law_l9_agents_share_the_queue_alike() {
        let (queue, done) = (FairQueue::new(2), AtomicUsize::new(0));
        let piece = |key: &'static str| queue.run(key, || done.fetch_add(1, Ordering::Relaxed));
        let much = join_all((0..1000).map(|_| piece("much")));
        let little = async {
            let mut before = vec![];
            for _ in 0..10 {
                let began = done.load(Ordering::Relaxed);
                before.push(piece("little").await - began);
            }
            before
        };
        let (all, before) = tokio::join!(much, little);
        assert_eq!(all.len(), 1000);
        assert!(before.iter().all(|pieces| *pieces <= 4), "{before:?}");
        assert!(done.load(Ordering::Relaxed) == 1010 && queue.0.lock().unwrap().free == 2);
    }

    #[tokio::test]
    async fn an_unclaimed_permit_goes_to_the_next() {
        let queue = FairQueue::new(1);
        let first = queue.take("a").await;
        let mut gone = Box::pin(queue.take("b"));
        let mut granted = Box::pin(queue.take("c"));
        assert!((&mut gone).now_or_never().is_none() && (&mut granted).now_or_never().is_none());
        drop(gone);
        drop(first);
        // It was given the permit and ends before it takes it.
        drop(granted);
        drop(queue.take("d").await);
        let state = queue.0.lock().unwrap();
        assert!(state.free == 1 && state.waiting.is_empty() && state.order.is_empty());
    }
}
