//! Turns at work that takes the processor: those who ask share it alike, however much each asks for (law L9).
//!
//! Work is cut into pieces of under a millisecond, such as one signature, and each takes a turn. There are as many
//! turns as threads; who waits is served by key, one key after the other. So an agent that asks for a thousand
//! identities waits for its own, and another agent's one identity waits for a piece or two.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Items of a request that are worked on in one turn: less than a millisecond for a CSR or a signature each.
const IN_A_TURN: usize = 4;

pub(crate) struct Turns<K: Ord + Clone>(Arc<Mutex<State<K>>>);

struct State<K: Ord + Clone> {
    /// Turns that are not taken.
    free: usize,
    waiting: BTreeMap<K, VecDeque<oneshot::Sender<Turn<K>>>>,
    /// Those who wait, each once, in the order in which they are served.
    order: VecDeque<K>,
}

impl<K: Ord + Clone> State<K> {
    fn next(&mut self) -> Option<oneshot::Sender<Turn<K>>> {
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

/// A turn: it goes on to the next who waits when it is dropped.
pub(crate) struct Turn<K: Ord + Clone>(Option<Arc<Mutex<State<K>>>>);

impl<K: Ord + Clone> Turns<K> {
    /// So many at once.
    pub(crate) fn new(at_once: usize) -> Self {
        let state = State { free: at_once.max(1), waiting: BTreeMap::new(), order: VecDeque::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Does a piece of work when it is `key`'s turn.
    pub(crate) async fn run<T>(&self, key: K, work: impl FnOnce() -> T) -> T {
        let turn = self.take(key).await;
        let done = work();
        // Many pieces of one request are one task: without this its thread would serve nothing else before the last of
        // them.
        tokio::task::yield_now().await;
        drop(turn);
        done
    }

    /// Does the same to each of `items`, a few in each turn.
    pub(crate) async fn each<I, T>(&self, key: &K, items: Vec<I>, mut work: impl FnMut(I) -> T) -> Vec<T> {
        let (mut items, mut done) = (items.into_iter(), vec![]);
        while items.len() > 0 {
            let some = || done.extend(items.by_ref().take(IN_A_TURN).map(&mut work));
            self.run(key.clone(), some).await;
        }
        done
    }

    async fn take(&self, key: K) -> Turn<K> {
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
        let turn = match waits {
            Some(waits) => waits.await.ok(),
            None => None,
        };
        turn.unwrap_or_else(|| Turn(Some(self.0.clone())))
    }
}

impl<K: Ord + Clone> Drop for Turn<K> {
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
                Err(mut turn) => drop(turn.0.take()),
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
    async fn law_l9_turns_are_shared_by_agent() {
        let (turns, done) = (Turns::new(2), AtomicUsize::new(0));
        let piece = |key: &'static str| turns.run(key, || done.fetch_add(1, Ordering::Relaxed));
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
        assert!(done.load(Ordering::Relaxed) == 1010 && turns.0.lock().unwrap().free == 2);
    }

    #[tokio::test]
    async fn an_unclaimed_turn_goes_to_the_next() {
        let turns = Turns::new(1);
        let first = turns.take("a").await;
        let mut gone = Box::pin(turns.take("b"));
        let mut granted = Box::pin(turns.take("c"));
        assert!((&mut gone).now_or_never().is_none() && (&mut granted).now_or_never().is_none());
        drop(gone);
        drop(first);
        // It was given the turn and ends before it takes it.
        drop(granted);
        drop(turns.take("d").await);
        let state = turns.0.lock().unwrap();
        assert!(state.free == 1 && state.waiting.is_empty() && state.order.is_empty());
    }
}
