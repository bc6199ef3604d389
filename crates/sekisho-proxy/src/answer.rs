//! Answers on their way from the service. An answer of which its peer reads nothing gives its connection back in time.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::body_filter::BoxError;
use crate::fair_queue::Permit;
use crate::idle::{Idle, TimedOut};
use crate::idle_pool::{Http1Sender, IdlePool};

/// The connection that an answer comes on, and where it goes afterwards.
pub(crate) type Lease = Option<(Http1Sender, Arc<IdlePool<Http1Sender>>)>;

/// All answers that are not read whole yet. A body that waits for its peer's window is asked for nothing, so that it
/// cannot end itself.
#[derive(Default)]
pub(crate) struct Answers(Mutex<(u64, HashMap<u64, Arc<Live>>)>);

struct Live {
    open: Mutex<Option<Open>>,
    idle: Idle,
}

struct Open {
    body: Incoming,
    lease: Lease,
    /// Given back after the lease, so that the next request finds the connection.
    _permit: Arc<Permit>,
}

impl Answers {
    /// Ends answers on which nothing has passed for `limit`, until it is dropped.
    pub(crate) fn with_idle_limit(limit: Duration) -> Arc<Self> {
        let answers = Arc::new(Self::default());
        tokio::spawn(sweep(Arc::downgrade(&answers), (limit / 4).max(Duration::from_millis(100))));
        answers
    }

    pub(crate) fn answer(self: &Arc<Self>, body: Incoming, lease: Lease, permit: Arc<Permit>, idle: &Idle) -> Answer {
        let live = Arc::new(Live { open: Mutex::new(Some(Open { body, lease, _permit: permit })), idle: idle.clone() });
        idle.touch();
        let mut table = self.table();
        table.0 += 1;
        let key = table.0;
        table.1.insert(key, live.clone());
        drop(table);
        Answer { answers: self.clone(), key, live, ended: false }
    }

    fn table(&self) -> MutexGuard<'_, (u64, HashMap<u64, Arc<Live>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(answers: Weak<Answers>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(answers) = answers.upgrade() else { return };
        let over: Vec<_> = answers.table().1.values().filter(|live| live.idle.is_over()).cloned().collect();
        for live in over {
            // Its connection is closed, since the rest of the answer is still on it.
            let open = live.open().take();
            if open.is_some() {
                tracing::info!("an answer was dropped: its peer read nothing of it for too long");
            }
            drop(open);
        }
    }
}

/// The body of an answer. Once it has been read whole, its connection takes the next request.
pub(crate) struct Answer {
    answers: Arc<Answers>,
    key: u64,
    live: Arc<Live>,
    ended: bool,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.answers.table().1.remove(&self.key);
        let Some(Open { body, lease, _permit }) = self.live.open().take() else { return };
        // What was not read whole ends with its connection.
        if let Some((sender, pool)) = lease.filter(|_| self.ended || body.is_end_stream()) {
            pool.give_back(sender);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = match self.live.open().as_mut() {
            Some(open) => Pin::new(&mut open.body).poll_frame(context),
            None => return Poll::Ready(Some(Err(TimedOut(self.live.idle.limit_seconds()).into()))),
        };
        self.ended |= matches!(polled, Poll::Ready(None));
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.live.open().as_ref().is_some_and(|open| open.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.live.open().as_ref().map_or_else(SizeHint::default, |open| open.body.size_hint())
    }
}
