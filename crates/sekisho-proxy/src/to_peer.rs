//! Requests to a peer: over HTTP/1.1 where the workload speaks it and the peer's sidecar does too, else over HTTP/2.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, Uri, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::answer_head::{AnswerError, Failed, exchange};
use crate::body_filter::{Body, BoxError};
use crate::dialling::{DialError, PeerDialer};
use crate::guard;
use crate::hops;
use crate::idle_pool::IdlePool;
use crate::peer_http1::{Connection, Http1, Route};
use crate::peer_http2::Http2;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the request's target cannot be formed")]
    Target,
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

pub(crate) struct ToPeer {
    pub dialer: Arc<PeerDialer>,
    http1: Arc<Http1>,
    http2: Arc<Http2>,
}

impl ToPeer {
    pub(crate) fn new(dialer: PeerDialer, longest_pause: Duration) -> Self {
        let dialer = Arc::new(dialer);
        let (http1, http2) = (Http1::new(dialer.clone(), longest_pause), Http2::new(dialer.clone(), longest_pause));
        Self { dialer, http1, http2 }
    }

    /// Sends a request of the workload on. Nothing is sent twice: only what a connection did not take is tried again.
    pub(crate) async fn send(&self, mut head: Parts, mut body: Body) -> Result<Response<Body>, SendError> {
        loop {
            let held = self.dialer.held()?;
            // gRPC needs HTTP/2 on each hop.
            let route = if head.version == Version::HTTP_2 { Route::Http2 } else { self.http1.route(&held).await? };
            let (mut connection, reused) = match route {
                Route::Reused(connection) => (connection, true),
                Route::Fresh(connection) => (connection, false),
                Route::Http2 => {
                    let request = Request::from_parts(over_http2(head).ok_or(SendError::Target)?, body);
                    let response = self.http2.sender(held).await?.send_request(request).await?;
                    return Ok(response.map(|body| body.map_err(Into::into).boxed()));
                }
            };
            let head1 = over_http1(head, !body.is_end_stream()).ok_or(SendError::Target)?;
            match exchange(&mut connection.sender, Request::from_parts(head1, body)).await {
                Ok(response) => {
                    let lease = Some((connection, self.http1.idle.clone()));
                    return Ok(response.map(|body| PooledAnswer { body, lease, ended: false }.boxed()));
                }
                // The peer closed a connection that waited.
                Err(Failed::Http(mut error)) => match error.take_message().filter(|_| reused) {
                    Some(unsent) => (head, body) = unsent.into_parts(),
                    None => return Err((*error).into_error().into()),
                },
                Err(Failed::Answer(error)) => return Err(error.into()),
            }
        }
    }
}

/// The request's head as it goes on over HTTP/2, with the same path and query.
fn over_http2(mut head: Parts) -> Option<Parts> {
    let host = head.headers.remove(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority =
        head.uri.authority().cloned().or(host).unwrap_or_else(|| Authority::from_static(hops::NO_AUTHORITY));
    let target = target(&head.uri);
    head.uri = Uri::builder().scheme("https").authority(authority).path_and_query(target).build().ok()?;
    head.version = Version::HTTP_2;
    hops::for_peer(&mut head.headers);
    guard::join_cookies(&mut head.headers);
    Some(head)
}

/// The same over HTTP/1.1.
fn over_http1(mut head: Parts, has_body: bool) -> Option<Parts> {
    hops::set_host(&head.uri, &mut head.headers)?;
    head.uri = target(&head.uri).into();
    head.version = Version::HTTP_11;
    hops::for_peer(&mut head.headers);
    guard::join_cookies(&mut head.headers);
    if has_body && !head.headers.contains_key(header::CONTENT_LENGTH) {
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Some(head)
}

fn target(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// The body of an answer. Once it has been read whole, its connection takes the next request; else it ends with it.
struct PooledAnswer {
    body: Incoming,
    lease: Option<(Connection, Arc<IdlePool<Connection>>)>,
    ended: bool,
}

impl Drop for PooledAnswer {
    fn drop(&mut self) {
        let whole = self.ended || self.body.is_end_stream();
        if let Some((connection, idle)) = self.lease.take().filter(|_| whole) {
            idle.give_back(connection);
        }
    }
}

impl http_body::Body for PooledAnswer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.ended |= matches!(polled, Poll::Ready(None));
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(head: &Parts) -> Vec<&str> {
        let mut names: Vec<_> = head.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn head(target: &str, fields: &[(&str, &str)]) -> Parts {
        let request =
            fields.iter().fold(Request::builder().uri(target), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn no_field_of_the_connection_is_forwarded() {
        let sent = [
            ("host", "ledger"),
            ("te", "trailers"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
        ];
        let forwarded = over_http2(head("/v1/x?y=1", &sent)).unwrap();
        assert_eq!((forwarded.uri.to_string().as_str(), names(&forwarded)), ("https://ledger/v1/x?y=1", vec!["te"]));
        let forwarded = over_http1(head("/v1/x?y=1", &sent), false).unwrap();
        assert_eq!((forwarded.uri.to_string().as_str(), names(&forwarded)), ("/v1/x?y=1", vec!["host", "te"]));
        // What was not sent is formed anew, for whichever connection comes next.
        let again = over_http1(forwarded, false).unwrap();
        assert_eq!((again.headers["host"].as_bytes(), again.uri.path()), (&b"ledger"[..], "/v1/x"));
        assert_eq!(over_http2(again).unwrap().uri, "https://ledger/v1/x?y=1");
    }

    #[test]
    fn a_body_without_length_is_announced() {
        let chunked = over_http1(head("http://a/", &[("transfer-encoding", "chunked")]), true).unwrap();
        assert_eq!(chunked.headers.get("transfer-encoding").unwrap(), "chunked");
        assert_eq!((chunked.uri.path(), chunked.headers.get("host").unwrap().as_bytes()), ("/", &b"a"[..]));
        let sized = over_http1(head("/", &[("content-length", "5")]), true).unwrap();
        assert_eq!(names(&sized), ["content-length", "host"]);
        // HTTP/1.0 may name no host.
        assert_eq!(sized.headers.get("host").unwrap(), hops::NO_AUTHORITY);
    }
}
