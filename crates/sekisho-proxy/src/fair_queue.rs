//! A fair queue in front of the service: a bound on open connections and streams, served round-robin by peer, so that a
//! peer with many requests delays only itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// A request that has waited this long for a permit is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why a request gets no permit. It never reaches the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPermit {
    #[error("too many requests of this peer wait for the service")]
    TooMany,
    #[error("the service did not take this request in time")]
    Late,
}

pub(crate) struct FairQueue {
    total: usize,
    per_peer: usize,
    waiting_per_peer: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    busy: usize,
    peers: HashMap<Arc<str>, PeerQueue>,
    /// Peers with a waiting request, in the order in which they are served.
    rotation: VecDeque<Arc<str>>,
}

#[derive(Default)]
struct PeerQueue {
    busy: usize,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// The right to one connection, or one stream, to the service; released when dropped.
pub(crate) struct Permit(Option<(Arc<FairQueue>, Arc<str>)>);

impl FairQueue {
    /// At most `total` permits at once, half of them for one peer. Four times as many of its requests may wait.
    pub(crate) fn new(total: usize) -> Arc<Self> {
        let per_peer = total.div_ceil(2);
        Arc::new(Self { total, per_peer, waiting_per_peer: per_peer * 4, state: Mutex::default() })
    }

    /// A permit at once, or none.
    pub(crate) fn try_take(self: &Arc<Self>, peer: &str) -> Option<Permit> {
        self.state().take(&peer.into(), self.total, self.per_peer).then(|| Permit(Some((self.clone(), peer.into()))))
    }

    /// A permit, as soon as this peer may have one.
    pub(crate) async fn take(self: &Arc<Self>, peer: impl Into<Arc<str>>) -> Result<Permit, NoPermit> {
        match self.ask(peer.into())? {
            Ticket::Now(permit) => Ok(permit),
            Ticket::Later(hears) => match tokio::time::timeout(LONGEST_WAIT, hears).await {
                Ok(Ok(permit)) => Ok(permit),
                _ => Err(NoPermit::Late),
            },
        }
    }

    fn ask(self: &Arc<Self>, name: Arc<str>) -> Result<Ticket, NoPermit> {
        let mut state = self.state();
        if state.take(&name, self.total, self.per_peer) {
            return Ok(Ticket::Now(Permit(Some((self.clone(), name)))));
        }
        let state = &mut *state;
        let of_peer = state.peers.entry(name.clone()).or_default();
        // Those who went away keep no place.
        of_peer.waiting.retain(|waiting| !waiting.is_closed());
        if of_peer.waiting.len() >= self.waiting_per_peer {
            return Err(NoPermit::TooMany);
        }
        let (sender, hears) = oneshot::channel();
        of_peer.waiting.push_back(sender);
        if !state.rotation.contains(&name) {
            state.rotation.push_back(name);
        }
        Ok(Ticket::Later(hears))
    }

    /// Releases one permit of `peer` and gives it to the next request.
    fn give_back(self: &Arc<Self>, peer: &Arc<str>) {
        let mut state = self.state();
        state.release(peer);
        while let Some((name, next)) = state.next(self.per_peer) {
            let Err(mut gone) = next.send(Permit(Some((self.clone(), name.clone())))) else { return };
            // It went away meanwhile: what it did not get is not given back a second time.
            gone.0 = None;
            state.release(&name);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Ticket {
    Now(Permit),
    Later(oneshot::Receiver<Permit>),
}

impl State {
    /// Counts one more of this peer, if there may be one. Those of the same peer who wait come first.
    fn take(&mut self, peer: &Arc<str>, total: usize, per_peer: usize) -> bool {
        let of_peer = self.peers.get(peer);
        if self.busy >= total || of_peer.is_some_and(|peer| peer.busy >= per_peer || !peer.waiting.is_empty()) {
            return false;
        }
        self.busy += 1;
        self.peers.entry(peer.clone()).or_default().busy += 1;
        true
    }

    fn release(&mut self, peer: &Arc<str>) {
        self.busy = self.busy.saturating_sub(1);
        if let Some(of_peer) = self.peers.get_mut(peer) {
            of_peer.busy = of_peer.busy.saturating_sub(1);
            if of_peer.busy == 0 && of_peer.waiting.is_empty() {
                self.peers.remove(peer);
            }
        }
    }

    /// Who is next among the peers that may have one more, counted as busy.
    fn next(&mut self, per_peer: usize) -> Option<(Arc<str>, oneshot::Sender<Permit>)> {
        for _ in 0..self.rotation.len() {
            let name = self.rotation.pop_front()?;
            let Some(of_peer) = self.peers.get_mut(&name) else { continue };
            if of_peer.busy >= per_peer {
                self.rotation.push_back(name);
                continue;
            }
            // All of them went away.
            let Some(next) = of_peer.waiting.pop_front() else { continue };
            of_peer.busy += 1;
            self.busy += 1;
            if !of_peer.waiting.is_empty() {
                self.rotation.push_back(name.clone());
            }
            return Some((name, next));
        }
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((queue, peer)) = self.0.take() {
            queue.give_back(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(queue: &Arc<FairQueue>, peer: &str) -> oneshot::Receiver<Permit> {
        match queue.ask(peer.into()).unwrap() {
            Ticket::Later(hears) => hears,
            Ticket::Now(_) => panic!("it did not have to wait"),
        }
    }

    #[test]
    fn law_l9_a_greedy_peer_does_not_delay_others() {
        let queue = FairQueue::new(4);
        let first: Vec<_> = (0..2).map(|_| queue.try_take("greedy").unwrap()).collect();
        assert!(queue.try_take("greedy").is_none(), "half of the permits are one peer's");
        let mut greedy: Vec<_> = (0..8).map(|_| waits(&queue, "greedy")).collect();
        assert_eq!(queue.ask("greedy".into()).err(), Some(NoPermit::TooMany));
        // The other half is still free, and then the third peer is served after one of the greedy peer's requests.
        let others: Vec<_> = (0..2).map(|_| queue.try_take("other").unwrap()).collect();
        assert!(queue.try_take("third").is_none());
        let mut third = waits(&queue, "third");
        drop(first);
        assert!(third.try_recv().is_ok(), "the third peer waits for one permit at most");
        let served: Vec<_> = greedy.iter_mut().filter_map(|waits| waits.try_recv().ok()).collect();
        // The third peer's permit was dropped with the assertion and went to the greedy peer.
        assert_eq!(served.len(), 2);
        drop(others);
    }

    #[test]
    fn dropped_waiters_lose_no_permit() {
        let queue = FairQueue::new(2);
        for _ in 0..100 {
            let held = queue.try_take("a").unwrap();
            let gone: Vec<_> = (0..4).map(|_| waits(&queue, "a")).collect();
            drop(gone);
            drop(held);
        }
        let held = queue.try_take("a").unwrap();
        let handed = waits(&queue, "a");
        drop(held);
        // It was handed over before the receiver was dropped.
        drop(handed);
        assert!(queue.try_take("a").is_some());
        let state = queue.state();
        assert_eq!((state.busy, state.peers.len()), (0, 0));
    }
}
