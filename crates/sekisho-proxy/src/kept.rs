//! HTTP/1.1 connections to the workload that wait for the next request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http1;
use sekisho_runtime::instant;
use tokio::time::Instant;

use crate::passing::Body;

/// Connections that are kept although nothing passes on them, and for how long.
const MAX_IDLE: usize = 256;
const IDLE: Duration = Duration::from_secs(15);

pub(crate) type Sender1 = http1::SendRequest<Body>;

#[derive(Default)]
pub(crate) struct Kept {
    /// Newest last.
    idle: Mutex<Vec<(Sender1, Instant)>>,
    sweeping: AtomicBool,
}

impl Kept {
    /// The newest connection that can take a request at once.
    pub(crate) fn take(&self) -> Option<Sender1> {
        let mut idle = self.idle();
        let at = idle.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(idle.swap_remove(at).0)
    }

    pub(crate) fn give_back(self: Arc<Self>, sender: Sender1) {
        let mut idle = self.idle();
        if sender.is_closed() || idle.len() >= MAX_IDLE {
            return;
        }
        idle.push((sender, instant()));
        drop(idle);
        if !self.sweeping.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(&self)));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Sender1, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what was not used for a while; ends when nothing is left.
async fn sweep(kept: Weak<Kept>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(kept) = kept.upgrade() else { return };
        let mut idle = kept.idle();
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
        if idle.is_empty() {
            kept.sweeping.store(false, Ordering::Relaxed);
            return;
        }
    }
}
