//! A body on its way through the sidecar, and filters that may delay it, stop it or observe its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};

/// Any body, of any origin.
pub(crate) type Body = BoxBody<Bytes, BoxError>;
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// A body without anything, which costs nothing.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A filter between a body and its reader.
pub(crate) trait BodyFilter: Unpin {
    /// Whether the body may be asked for a frame yet.
    fn poll_open(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// What is passed on in place of what the body gave.
    fn pass(&mut self, polled: Polled, context: &mut Context<'_>) -> Polled;

    /// Called when the body has given all that it has. Not every reader asks for its end.
    fn finished(&mut self) {}
}

pub(crate) struct FilteredBody<B, P> {
    inner: B,
    by: P,
}

impl<B, P> FilteredBody<B, P> {
    pub(crate) const fn by(inner: B, by: P) -> Self {
        Self { inner, by }
    }

    #[cfg(test)]
    pub(crate) const fn with(&self) -> &P {
        &self.by
    }
}

impl<B, P> http_body::Body for FilteredBody<B, P>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    P: BodyFilter,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        std::task::ready!(self.by.poll_open(context));
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        let is_finished = match &polled {
            Poll::Ready(Some(Ok(_))) => self.inner.is_end_stream(),
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if is_finished {
            self.by.finished();
        }
        self.by.pass(polled.map(|frame| frame.map(|frame| frame.map_err(Into::into))), context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
