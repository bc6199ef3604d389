//! gRPC streams that are open when a server stops: each is closed with a status, so that its client connects to the
//! next server. Without it the server would wait for clients that wait for it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Ends the answers of gRPC that are still open at `stop`. What has an end of its own is sent.
pub(crate) async fn end_streams(State(stop): State<CancellationToken>, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    let is_grpc = |kind: &HeaderValue| kind.as_bytes().starts_with(b"application/grpc");
    if !answer.headers().get(CONTENT_TYPE).is_some_and(is_grpc) {
        return answer;
    }
    answer.map(|body| Body::new(Ending { body, stop: Box::pin(stop.cancelled_owned()), has_ended: false }))
}

struct Ending {
    body: Body,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    has_ended: bool,
}

/// `UNAVAILABLE`: the caller may try again.
fn stopping() -> HeaderMap {
    let status = [("grpc-status", "14"), ("grpc-message", "the server stops")];
    status.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

impl hyper::body::Body for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() || self.stop.as_mut().poll(context).is_pending() {
            return frame;
        }
        self.has_ended = true;
        Poll::Ready(Some(Ok(Frame::trailers(stopping()))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use axum::routing::get;
    use axum::{Router, middleware};
    use hyper::body::Body as _;
    use tower::ServiceExt;

    use super::*;

    /// A body that has no end.
    struct Open;

    impl hyper::body::Body for Open {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn grpc_streams_close_when_the_server_stops() {
        let stop = CancellationToken::new();
        let grpc = [(CONTENT_TYPE, "application/grpc")];
        let router = Router::new()
            .route("/open", get(move || async move { (grpc, Body::new(Open)) }))
            .route("/whole", get(|| async { ([(CONTENT_TYPE, "application/grpc")], "whole") }))
            .layer(middleware::from_fn_with_state(stop.clone(), end_streams));
        let ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap().into_body()
        };
        let (mut open, mut whole) = (ask("/open").await, ask("/whole").await);
        let waits = std::time::Duration::from_millis(20);
        let next = tokio::time::timeout(waits, poll_fn(|context| Pin::new(&mut open).poll_frame(context))).await;
        assert!(next.is_err(), "it is open");
        stop.cancel();
        let last = poll_fn(|context| Pin::new(&mut open).poll_frame(context)).await.unwrap().unwrap();
        assert_eq!(last.into_trailers().ok().unwrap()["grpc-status"], "14");
        assert!(poll_fn(|context| Pin::new(&mut open).poll_frame(context)).await.is_none());
        let sent = poll_fn(|context| Pin::new(&mut whole).poll_frame(context)).await.unwrap().unwrap();
        assert_eq!(sent.into_data().ok().unwrap(), "whole");
    }
}
