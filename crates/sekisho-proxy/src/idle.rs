//! Bodies that end when nothing passes any more. A request's two directions have one clock: a stream whose one side is
//! silent for hours stays open while the other one speaks.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use sekisho_runtime::instant;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body_filter::{BodyFilter, FilteredBody, Polled};

#[derive(Debug, thiserror::Error)]
#[error("no data was sent on this request for {0} s")]
pub(crate) struct TimedOut(pub u64);

/// When something last passed, in either direction.
#[derive(Clone)]
pub(crate) struct Idle {
    limit: Duration,
    began: Instant,
    /// Milliseconds since `began`.
    touched: Arc<AtomicU64>,
}

impl Idle {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, began: instant(), touched: Arc::default() }
    }

    pub(crate) fn touch(&self) {
        let passed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.touched.store(passed, Ordering::Relaxed);
    }

    pub(crate) const fn limit_seconds(&self) -> u64 {
        self.limit.as_secs()
    }

    pub(crate) fn is_over(&self) -> bool {
        instant() >= self.deadline()
    }

    /// Returns when nothing has passed for too long.
    pub(crate) async fn over(&self) {
        while !self.is_over() {
            sleep_until(self.deadline()).await;
        }
    }

    fn deadline(&self) -> Instant {
        self.began + Duration::from_millis(self.touched.load(Ordering::Relaxed)) + self.limit
    }
}

/// What ends a body on such a clock.
pub(crate) struct Clock {
    idle: Idle,
    /// Made once the body has to wait.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A body on such a clock.
pub(crate) type Timed<B> = FilteredBody<B, Clock>;

impl<B> Timed<B> {
    pub(crate) const fn new(inner: B, idle: Idle) -> Self {
        Self::by(inner, Clock { idle, timer: None })
    }
}

impl BodyFilter for Clock {
    fn pass(&mut self, polled: Polled, context: &mut Context<'_>) -> Polled {
        if polled.is_ready() {
            self.idle.touch();
            return polled;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.idle.deadline())));
        loop {
            std::task::ready!(timer.as_mut().poll(context));
            if self.idle.is_over() {
                return Poll::Ready(Some(Err(TimedOut(self.idle.limit_seconds()).into())));
            }
            timer.as_mut().reset(self.idle.deadline());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::{Body, Frame};
    use http_body_util::BodyExt;

    use super::*;
    use crate::body_filter::BoxError;

    /// A body of which nothing comes.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_body_times_out_when_both_directions_idle() {
        let idle = Idle::new(Duration::from_millis(400));
        let began = instant();
        let speaks = idle.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                speaks.touch();
            }
        });
        let error = Timed::new(Silent, idle.clone()).frame().await.unwrap().unwrap_err();
        assert!(error.is::<TimedOut>(), "{error}");
        assert!(began.elapsed() >= Duration::from_millis(1300), "{:?}", began.elapsed());
        assert!(idle.is_over());
    }
}
