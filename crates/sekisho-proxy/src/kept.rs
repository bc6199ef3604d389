//! HTTP/1.1 connections that wait for the next request: to the workload, and to a peer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http1;
use sekisho_runtime::instant;
use tokio::time::Instant;

use crate::passing::Body;

/// Connections that are kept although nothing passes on them.
const MAX_IDLE: usize = 256;

pub(crate) type Sender1 = http1::SendRequest<Body>;

/// A connection as its keeper sees it.
pub(crate) trait Waits: Send + 'static {
    /// Whether it can take a request at once.
    fn is_ready(&self) -> bool;
    fn is_closed(&self) -> bool;
}

impl Waits for Sender1 {
    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }
}

pub(crate) struct Kept<T> {
    /// Newest last.
    idle: Mutex<Vec<(T, Instant)>>,
    /// How long one is kept.
    longest: Duration,
    sweeping: AtomicBool,
}

impl<T: Waits> Kept<T> {
    pub(crate) fn for_at_most(longest: Duration) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), longest, sweeping: AtomicBool::new(false) })
    }

    /// The newest connection that can take a request at once and is `good`. What is not good is closed.
    pub(crate) fn take(&self, good: impl Fn(&T) -> bool) -> Option<T> {
        let mut idle = self.idle();
        loop {
            let at = idle.iter().rposition(|(kept, since)| kept.is_ready() && since.elapsed() < self.longest)?;
            let (kept, _) = idle.swap_remove(at);
            if good(&kept) {
                return Some(kept);
            }
        }
    }

    pub(crate) fn give_back(self: Arc<Self>, kept: T) {
        let mut idle = self.idle();
        if kept.is_closed() || idle.len() >= MAX_IDLE {
            return;
        }
        idle.push((kept, instant()));
        drop(idle);
        if !self.sweeping.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(&self)));
        }
    }

    /// Closes those that are not `good`.
    pub(crate) fn retain(&self, good: impl Fn(&T) -> bool) {
        self.idle().retain(|(kept, _)| good(kept));
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(T, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what was not used for a while; ends when nothing is left.
async fn sweep<T: Waits>(kept: Weak<Kept<T>>) {
    loop {
        let Some(longest) = kept.upgrade().map(|kept| kept.longest) else { return };
        tokio::time::sleep(longest).await;
        let Some(kept) = kept.upgrade() else { return };
        let mut idle = kept.idle();
        idle.retain(|(waits, since)| !waits.is_closed() && since.elapsed() < longest);
        if idle.is_empty() {
            kept.sweeping.store(false, Ordering::Relaxed);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that is ready, and open, or not.
    #[derive(Debug, PartialEq, Eq)]
    struct Waiting(u32, bool, bool);

    impl Waits for Waiting {
        fn is_ready(&self) -> bool {
            self.1
        }

        fn is_closed(&self) -> bool {
            self.2
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_good_one_is_taken() {
        let kept = Kept::for_at_most(Duration::from_secs(15));
        for one in [Waiting(1, true, false), Waiting(2, true, false), Waiting(3, false, false), Waiting(4, true, true)]
        {
            kept.clone().give_back(one);
        }
        assert_eq!(kept.take(|one| one.0 != 2), Some(Waiting(1, true, false)));
        // The second was closed, the third is not ready, and the fourth was closed already.
        assert_eq!(kept.take(|_| true), None);
        assert_eq!(kept.idle().len(), 1);
        kept.clone().give_back(Waiting(5, true, false));
        tokio::time::advance(Duration::from_secs(16)).await;
        assert_eq!(kept.take(|_| true), None, "its peer may be closing it");
    }
}
