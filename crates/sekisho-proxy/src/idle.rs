//! Bodies that end when nothing passes any more. A request's two directions have one clock: a stream whose one side is
//! silent for hours stays open while the other one speaks.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
#[error("nothing has passed on this request for {0} s")]
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
        Self { limit, began: Instant::now(), touched: Arc::default() }
    }

    pub(crate) fn touch(&self) {
        let passed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.touched.store(passed, Ordering::Relaxed);
    }

    pub(crate) const fn limit_seconds(&self) -> u64 {
        self.limit.as_secs()
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline()
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

/// A body on such a clock.
pub(crate) struct Timed<B> {
    inner: B,
    idle: Idle,
    /// Made once the body has to wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Timed<B> {
    pub(crate) const fn new(inner: B, idle: Idle) -> Self {
        Self { inner, idle, timer: None }
    }
}

impl<B> Body for Timed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(polled) = Pin::new(&mut this.inner).poll_frame(context) {
            this.idle.touch();
            return Poll::Ready(polled.map(|frame| frame.map_err(Into::into)));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(this.idle.deadline())));
        loop {
            std::task::ready!(timer.as_mut().poll(context));
            if this.idle.is_over() {
                return Poll::Ready(Some(Err(TimedOut(this.idle.limit.as_secs()).into())));
            }
            timer.as_mut().reset(this.idle.deadline());
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

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
    async fn a_silent_body_ends_and_one_whose_other_direction_speaks_does_not() {
        let idle = Idle::new(Duration::from_millis(400));
        let began = Instant::now();
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
