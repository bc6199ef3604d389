//! Bodies that stop when the policy no longer allows them (law L12).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sekisho_policy::RequestInput;
use tokio::sync::watch;

use crate::decisions::Decider;
use crate::trace::Trace;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

type Change = Pin<Box<dyn Future<Output = Option<watch::Receiver<u64>>> + Send + Sync>>;

/// A request that was allowed, and how to ask whether it still is.
pub(crate) struct StillAllowed {
    input: Arc<RequestInput>,
    decider: Arc<Decider>,
    /// Subscribed before the decision, so that no change falls between.
    changed: watch::Receiver<u64>,
    /// Wakes a body that waits; made once one does.
    waiting: Option<Change>,
    /// Whether that it was cut is recorded, for the two bodies of one request.
    recorded: Arc<AtomicBool>,
}

impl Clone for StillAllowed {
    fn clone(&self) -> Self {
        let (input, decider, changed) = (self.input.clone(), self.decider.clone(), self.changed.clone());
        Self { input, decider, changed, waiting: None, recorded: self.recorded.clone() }
    }
}

impl StillAllowed {
    pub(crate) fn new(input: Arc<RequestInput>, decider: Arc<Decider>, changed: watch::Receiver<u64>) -> Self {
        Self { input, decider, changed, waiting: None, recorded: Arc::default() }
    }

    /// Returns when the policy no longer allows the request.
    pub(crate) async fn denied(mut self) {
        while self.changed.changed().await.is_ok() {
            if !self.judge_again() {
                return;
            }
        }
    }

    fn check(&mut self) -> bool {
        if !self.changed.has_changed().unwrap_or(true) {
            return true;
        }
        self.changed.mark_unchanged();
        self.judge_again()
    }

    /// The same for a body that has nothing to pass: ready once it is denied.
    fn poll_denied(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let changed = &self.changed;
            let waiting = self.waiting.get_or_insert_with(|| {
                let mut changed = changed.clone();
                Box::pin(async move { changed.changed().await.is_ok().then_some(changed) })
            });
            let heard = std::task::ready!(waiting.as_mut().poll(context));
            self.waiting = None;
            match heard {
                Some(changed) => self.changed = changed,
                None => return Poll::Ready(()),
            }
            if !self.judge_again() {
                return Poll::Ready(());
            }
        }
    }

    /// A request that is cut is recorded as a decision of its own.
    fn judge_again(&self) -> bool {
        let allowed = self.decider.still_allowed(&self.input);
        if !allowed && !self.recorded.swap(true, Ordering::Relaxed) {
            let (decider, input) = (self.decider.clone(), self.input.clone());
            tokio::spawn(async move {
                let cut = decider.decide(input, Trace::below(None)).await;
                tracing::info!(decision = cut.map(|made| made.id.to_string()), "an open request was cut");
            });
        }
        allowed
    }
}

#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the policy in force no longer allows this request")]
    Denied,
    #[error("trailers of a request do not pass: no policy has judged them")]
    Trailers,
}

/// A body that passes, and stays open, under the policy in force at that moment only.
pub(crate) struct Judged<B> {
    inner: B,
    allowed: StillAllowed,
    /// Trailers of a request could set headers that the guard refuses; those of a response are gRPC's status.
    trailers_pass: bool,
}

impl<B> Judged<B> {
    pub(crate) const fn request(inner: B, allowed: StillAllowed) -> Self {
        Self { inner, allowed, trailers_pass: false }
    }

    pub(crate) const fn response(inner: B, allowed: StillAllowed) -> Self {
        Self { inner, allowed, trailers_pass: true }
    }
}

impl<B> Body for Judged<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {
                std::task::ready!(self.allowed.poll_denied(context));
                return Poll::Ready(Some(Err(Stopped::Denied.into())));
            }
        };
        if frame.is_trailers() && !self.trailers_pass {
            let peer = self.allowed.input.subject.spiffe_id.to_string();
            self.allowed.decider.refuse("request", &peer, &Stopped::Trailers.to_string());
            return Poll::Ready(Some(Err(Stopped::Trailers.into())));
        }
        if !self.allowed.check() {
            return Poll::Ready(Some(Err(Stopped::Denied.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
