//! Bodies that stop when the policy no longer allows them (law L12).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sekisho_policy::RequestInput;
use tokio::sync::watch;

use crate::decisions::Decider;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request that was allowed, and how to ask whether it still is.
#[derive(Clone)]
pub(crate) struct StillAllowed {
    pub input: Arc<RequestInput>,
    pub decider: Arc<Decider>,
    /// Subscribed before the decision, so that no change falls between.
    pub changed: watch::Receiver<u64>,
}

impl StillAllowed {
    fn check(&mut self) -> bool {
        if !self.changed.has_changed().unwrap_or(true) {
            return true;
        }
        self.changed.mark_unchanged();
        self.decider.still_allowed(&self.input)
    }
}

#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the policy in force no longer allows this request")]
    Denied,
    #[error("trailers of a request do not pass: nobody has judged them")]
    Trailers,
}

/// A body each of whose frames passes under the policy in force at that moment.
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
            Poll::Pending => return Poll::Pending,
        };
        if frame.is_trailers() && !self.trailers_pass {
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
