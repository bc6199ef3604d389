//! A fair queue for work that takes the processor: all callers get the same share, however much each asks for (law L9).
//!
//! Work is cut into pieces of under a millisecond, such as a few signatures. Waiting pieces are served round-robin by
//! key. So an agent that asks for a thousand identities waits for its own, and another agent's single identity waits
//! for a few pieces.
//!
//! There are at most as many runners as threads. A runner is a task that does pieces of all callers, a few between two
//! pauses, and ends when nothing waits. So a caller is woken once for each piece of its own, when that is done.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Items of a request that are processed as one piece: less than a millisecond for CSRs or signatures.
const IN_A_PIECE: usize = 4;
/// Items that a runner processes before others of its thread come to run.
const IN_A_TURN: usize = 8;

/// A piece of work, which sends its result to the caller that waits for it.
struct Piece {
    work: Box<dyn FnOnce() + Send>,
    items: usize,
}

/// What a piece made, or how it panicked.
type Outcome<T> = Result<T, Box<dyn Any + Send>>;

#[derive(Clone)]
pub(crate) struct FairQueue<K: Ord + Clone>(Arc<Mutex<State<K>>>);

struct State<K: Ord + Clone> {
    /// Runners that may still begin.
    free: usize,
    waiting: BTreeMap<K, VecDeque<Piece>>,
    /// Waiting keys, each once, in the order in which they are served.
    order: VecDeque<K>,
}

impl<K: Ord + Clone> State<K> {
    fn put(&mut self, key: &K, piece: Piece) {
        let own = self.waiting.entry(key.clone()).or_default();
        own.push_back(piece);
        if own.len() == 1 {
            self.order.push_back(key.clone());
        }
    }

    fn next(&mut self) -> Option<Piece> {
        let key = self.order.pop_front()?;
        let own = self.waiting.get_mut(&key)?;
        let next = own.pop_front();
        if own.is_empty() {
            self.waiting.remove(&key);
        } else {
            self.order.push_back(key);
        }
        next
    }
}

impl<K: Ord + Clone + Send + 'static> FairQueue<K> {
    /// A queue with `at_once` runners.
    pub(crate) fn new(at_once: usize) -> Self {
        let state = State { free: at_once.max(1), waiting: BTreeMap::new(), order: VecDeque::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Does a piece of work when it is `key`'s turn. Nothing is done for a caller that has gone by then.
    pub(crate) async fn run<T: Send + 'static>(&self, key: &K, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (piece, done) = piece(1, work);
        self.put(key, [piece]);
        result(done).await
    }

    /// Does the same to each of `items`, a few as one piece.
    pub(crate) async fn each<I, T>(
        &self,
        key: &K,
        items: Vec<I>,
        work: impl Fn(I) -> T + Clone + Send + 'static,
    ) -> Vec<T>
    where
        I: Send + 'static,
        T: Send + 'static,
    {
        let (mut items, mut pieces, mut all_done) = (items.into_iter(), vec![], vec![]);
        while items.len() > 0 {
            let (some, work): (Vec<I>, _) = (items.by_ref().take(IN_A_PIECE).collect(), work.clone());
            let (piece, done) = piece(some.len(), move || some.into_iter().map(work).collect::<Vec<T>>());
            pieces.push(piece);
            all_done.push(done);
        }
        self.put(key, pieces);
        let mut results = vec![];
        for done in all_done {
            results.extend(result(done).await);
        }
        results
    }

    fn put(&self, key: &K, pieces: impl IntoIterator<Item = Piece>) {
        let begin = {
            let mut state = self.lock();
            let count = pieces.into_iter().map(|piece| state.put(key, piece)).count();
            let begin = count.min(state.free);
            state.free -= begin;
            begin
        };
        for _ in 0..begin {
            tokio::spawn(self.clone().serve());
        }
    }

    /// Does what waits.
    async fn serve(self) {
        loop {
            // What else is ready comes first: it may have a piece to put beside these.
            tokio::task::yield_now().await;
            let mut processed = 0;
            while processed < IN_A_TURN {
                let next = {
                    let mut state = self.lock();
                    let next = state.next();
                    state.free += usize::from(next.is_none());
                    next
                };
                match next {
                    Some(Piece { work, items }) => {
                        work();
                        processed += items;
                    }
                    None => return,
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn piece<T: Send + 'static>(
    items: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> (Piece, oneshot::Receiver<Outcome<T>>) {
    let (to, done) = oneshot::channel();
    let span = tracing::Span::current();
    let work = move || {
        if !to.is_closed() {
            // A panic is that of the caller, and the runner does the pieces of others.
            let outcome = catch_unwind(AssertUnwindSafe(|| span.in_scope(work)));
            let _gone = to.send(outcome);
        }
    };
    (Piece { work: Box::new(work), items }, done)
}

async fn result<T>(done: oneshot::Receiver<Outcome<T>>) -> T {
    match done.await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => resume_unwind(panic),
        // The program stops: its runners are dropped, and this task is about to be.
        Err(_) => std::future::pending().await,
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
        let (queue, done) = (FairQueue::new(2), Arc::new(AtomicUsize::new(0)));
        let piece = |key: &'static str| {
            let (queue, done) = (queue.clone(), done.clone());
            async move { queue.run(&key, move || done.fetch_add(1, Ordering::Relaxed)).await }
        };
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
        // Both runners may be at their turn when it asks.
        assert!(before.iter().all(|pieces| *pieces <= 2 * IN_A_TURN + 1), "{before:?}");
        tokio::task::yield_now().await;
        assert!(done.load(Ordering::Relaxed) == 1010 && queue.lock().free == 2);
    }

    #[tokio::test]
    async fn waiting_agents_take_turns() {
        let (queue, served) = (FairQueue::new(1), Arc::<Mutex<Vec<&str>>>::default());
        let asked = ["a", "a", "a", "b", "b", "c"].map(|key| {
            let (queue, served) = (queue.clone(), served.clone());
            async move { queue.run(&key, move || served.lock().unwrap().push(key)).await }
        });
        join_all(asked).await;
        assert_eq!(*served.lock().unwrap(), ["a", "b", "c", "a", "b", "a"]);
    }

    #[tokio::test]
    async fn items_keep_their_order() {
        let queue = FairQueue::new(2);
        let doubled = queue.each(&"a", (0..50).collect(), |item: u32| 2 * item).await;
        assert_eq!(doubled, (0..50).map(|item| 2 * item).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nothing_is_done_for_a_caller_that_left() {
        let (queue, done) = (FairQueue::new(1), Arc::new(AtomicUsize::new(0)));
        let count = done.clone();
        let mut gone = Box::pin(queue.run(&"a", move || count.fetch_add(1, Ordering::Relaxed)));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        queue.run(&"b", || ()).await;
        assert_eq!(done.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_panic_reaches_only_its_own_caller() {
        let queue = FairQueue::new(1);
        let own = queue.clone();
        let fails = tokio::spawn(async move { own.run(&"a", || [0u8; 0].first().copied().unwrap()).await });
        assert!(fails.await.unwrap_err().is_panic());
        assert_eq!(queue.run(&"b", || 7).await, 7);
        tokio::task::yield_now().await;
        assert!(queue.lock().free == 1);
    }
}
