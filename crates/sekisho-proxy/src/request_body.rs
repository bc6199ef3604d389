//! What of a request's body is not read when its answer begins. Over HTTP/1.1 it comes before the next request on that
//! connection: a short rest is read, and for any other the answer announces that the connection closes (RFC 9112
//! §9.3, §9.6). So no one sends a request on a connection that is closing.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, Version, header};
use http_body_util::BodyExt;

use crate::body_filter::Body;
use crate::upload::Faults;

/// What is read of a body that no one takes, in bytes, and how long that may take.
const MAX_REST: usize = 64 * 1024;
const LONGEST: Duration = Duration::from_millis(100);

enum Rest<B> {
    Nothing,
    Unread(B),
    Uploaded(Faults),
}

pub(crate) struct RequestBody<B> {
    rest: Rest<B>,
    http1: bool,
    /// Whether the rest is sent only if it is asked for (RFC 9110 §10.1.1).
    waits: bool,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> RequestBody<B> {
    pub(crate) fn new(head: &Parts, body: B) -> Self {
        let rest = if body.is_end_stream() { Rest::Nothing } else { Rest::Unread(body) };
        Self { rest, http1: head.version != Version::HTTP_2, waits: head.headers.contains_key(header::EXPECT) }
    }

    /// The body, if it has anything, and what notes its end.
    pub(crate) fn take(&mut self) -> Option<(B, Faults)> {
        if !matches!(self.rest, Rest::Unread(_)) {
            return None;
        }
        let faults = Faults::default();
        match std::mem::replace(&mut self.rest, Rest::Uploaded(faults.clone())) {
            Rest::Unread(body) => Some((body, faults)),
            Rest::Nothing | Rest::Uploaded(_) => None,
        }
    }

    /// The answer to the request, which announces the end of a connection that cannot carry another one.
    pub(crate) async fn before(self, mut answer: Response<Body>) -> Response<Body> {
        if self.http1 && !self.was_read().await {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn was_read(self) -> bool {
        match self.rest {
            Rest::Nothing => true,
            Rest::Uploaded(faults) => faults.came_whole(),
            Rest::Unread(body) => {
                !self.waits && tokio::time::timeout(LONGEST, read_rest(body)).await.unwrap_or_default()
            }
        }
    }
}

/// Whether that was all of it.
async fn read_rest(mut body: impl http_body::Body<Data = Bytes> + Unpin) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MAX_REST {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::{Full, StreamBody};

    use super::*;
    use crate::body_filter::empty;
    use crate::upload::Upload;

    async fn announces_close<B>(
        head: http::request::Builder,
        body: B,
        read: impl AsyncFnOnce(&mut RequestBody<B>),
    ) -> bool
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let (head, ()) = head.body(()).unwrap().into_parts();
        let mut body = RequestBody::new(&head, body);
        read(&mut body).await;
        body.before(Response::new(empty())).await.headers().contains_key(header::CONNECTION)
    }

    fn sized(length: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b'x'; length]))
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_long_rest_closes_a_connection() {
        let unread = async |_: &mut RequestBody<_>| {};
        for (length, closes) in [(0, false), (1, false), (MAX_REST, false), (MAX_REST + 1, true)] {
            assert_eq!(announces_close(Request::builder(), sized(length), unread).await, closes, "{length}");
        }
        let waits = Request::builder().header("expect", "100-continue");
        assert!(announces_close(waits, sized(1), unread).await);
        let http2 = Request::builder().version(Version::HTTP_2);
        assert!(!announces_close(http2, sized(MAX_REST + 1), unread).await);
        let silent =
            StreamBody::new(futures_util::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>());
        assert!(announces_close(Request::builder(), silent, async |_: &mut RequestBody<_>| {}).await);
    }

    #[tokio::test]
    async fn an_early_answer_closes_its_connection() {
        let taken = async |body: &mut RequestBody<Full<Bytes>>| {
            let (body, faults) = body.take().unwrap();
            drop(Upload::new(body, faults));
        };
        assert!(announces_close(Request::builder(), sized(1), taken).await);
        let uploaded = async |body: &mut RequestBody<Full<Bytes>>| {
            let (body, faults) = body.take().unwrap();
            // A reader of a body with a length does not ask for its end.
            let _frame = Upload::new(body, faults).frame().await.unwrap();
        };
        assert!(!announces_close(Request::builder(), sized(1), uploaded).await);
    }
}
