//! Pools of idle HTTP/1.1 connections: to the workload, and to a peer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http1;
use sekisho_runtime::instant;
use tokio::time::Instant;

use crate::body_filter::Body;

/// Idle connections in one pool, at most.
const MAX_IDLE: usize = 256;

pub(crate) type Http1Sender = http1::SendRequest<Body>;

/// A connection as the pool sees it.
pub(crate) trait Reusable: Send + 'static {
    /// Whether it can take a request at once.
    fn is_ready(&self) -> bool;
    fn is_closed(&self) -> bool;
}

impl Reusable for Http1Sender {
    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }
}

pub(crate) struct IdlePool<T> {
    /// Newest last.
    idle: Mutex<Vec<(T, Instant)>>,
    /// How long a connection may be idle.
    longest: Duration,
    sweeping: AtomicBool,
}

impl<T: Reusable> IdlePool<T> {
    pub(crate) fn with_timeout(longest: Duration) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), longest, sweeping: AtomicBool::new(false) })
    }

    /// The newest connection that can take a request at once and is `good`. Connections that are not good are closed.
    pub(crate) fn take(&self, good: impl Fn(&T) -> bool) -> Option<T> {
        let mut idle = self.idle();
        loop {
            let at =
                idle.iter().rposition(|(connection, since)| connection.is_ready() && since.elapsed() < self.longest)?;
            let (connection, _) = idle.swap_remove(at);
            if good(&connection) {
                return Some(connection);
            }
        }
    }

    pub(crate) fn give_back(self: Arc<Self>, connection: T) {
        let mut idle = self.idle();
        if connection.is_closed() || idle.len() >= MAX_IDLE {
            return;
        }
        idle.push((connection, instant()));
        drop(idle);
        if !self.sweeping.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(&self)));
        }
    }

    /// Closes those that are not `good`.
    pub(crate) fn retain(&self, good: impl Fn(&T) -> bool) {
        self.idle().retain(|(connection, _)| good(connection));
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(T, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that were idle too long; returns when none is left.
async fn sweep<T: Reusable>(pool: Weak<IdlePool<T>>) {
    loop {
        let Some(longest) = pool.upgrade().map(|pool| pool.longest) else { return };
        tokio::time::sleep(longest).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        idle.retain(|(waits, since)| !waits.is_closed() && since.elapsed() < longest);
        if idle.is_empty() {
            pool.sweeping.store(false, Ordering::Relaxed);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that is ready, and open, or not.
    #[derive(Debug, PartialEq, Eq)]
    struct TestConnection(u32, bool, bool);

    impl Reusable for TestConnection {
        fn is_ready(&self) -> bool {
            self.1
        }

        fn is_closed(&self) -> bool {
            self.2
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_good_one_is_taken() {
        let pool = IdlePool::with_timeout(Duration::from_secs(15));
        for one in [
            TestConnection(1, true, false),
            TestConnection(2, true, false),
            TestConnection(3, false, false),
            TestConnection(4, true, true),
        ] {
            pool.clone().give_back(one);
        }
        assert_eq!(pool.take(|one| one.0 != 2), Some(TestConnection(1, true, false)));
        // The second was closed, the third is not ready, and the fourth was closed already.
        assert_eq!(pool.take(|_| true), None);
        assert_eq!(pool.idle().len(), 1);
        pool.clone().give_back(TestConnection(5, true, false));
        tokio::time::advance(Duration::from_secs(16)).await;
        assert_eq!(pool.take(|_| true), None, "its peer may be closing it");
    }
}
