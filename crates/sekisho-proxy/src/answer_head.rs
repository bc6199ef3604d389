//! Which answers over HTTP/1.1 are accepted, from the workload and from a peer: one final head, whose body has one
//! length. What is counted over HTTP/2 is in `answer_frames.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::sync::Notify;

use crate::body_filter::Body;
use crate::idle_pool::Http1Sender;

/// Interim answers (1xx) before the final one. The library reads any number of them.
pub(crate) const MAX_INTERIM: usize = 16;

/// Why an answer is refused although the library reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the length of its answer can be read in two ways (RFC 9112 §6.3)")]
    Length,
    #[error("it sent more than {MAX_INTERIM} interim answers (1xx) to one request")]
    Interim,
    /// What follows such a head is not an answer.
    #[error("it switched to another protocol, which no request asked for")]
    Switched,
}

pub(crate) enum Failed {
    /// With the request, if nothing of it was sent.
    Http(Box<TrySendError<Request<Body>>>),
    Answer(AnswerError),
}

/// Sends a request and returns its final answer. After a failure the connection takes no other request.
pub(crate) async fn exchange(
    sender: &mut Http1Sender,
    mut request: Request<Body>,
) -> Result<Response<Incoming>, Failed> {
    let interim = Arc::new((AtomicUsize::new(0), Notify::new()));
    let counted = interim.clone();
    hyper::ext::on_informational(&mut request, move |_| {
        let (count, exceeded) = &*counted;
        if count.fetch_add(1, Ordering::Relaxed) >= MAX_INTERIM {
            exceeded.notify_one();
        }
    });
    let (count, exceeded) = &*interim;
    let answer = tokio::select! {
        biased;
        () = exceeded.notified() => return Err(Failed::Answer(AnswerError::Interim)),
        answer = sender.try_send_request(request) => answer.map_err(|error| Failed::Http(Box::new(error)))?,
    };
    let checked = match () {
        () if count.load(Ordering::Relaxed) > MAX_INTERIM => Err(AnswerError::Interim),
        () if answer.status().is_informational() => Err(AnswerError::Switched),
        () if !has_one_length(answer.headers()) => Err(AnswerError::Length),
        () => Ok(answer),
    };
    checked.map_err(Failed::Answer)
}

/// Whether every reader finds the same end of the body: by one `Content-Length`, by `chunked` alone, or by the end of
/// the connection. A coding other than `chunked` would be lost with its header, which belongs to the connection.
fn has_one_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_number = |value: &[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let is_last = match (lengths.next(), codings.next()) {
        (None, None) => true,
        (Some(length), None) => is_number(length.as_bytes()),
        (None, Some(coding)) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    is_last && lengths.next().is_none() && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What a request gets from a service that writes this.
    async fn answered(text: String) -> Result<String, Option<AnswerError>> {
        let (client, mut service) = tokio::io::duplex(65_536);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        tokio::spawn(async move {
            let _head = service.read(&mut [0; 4096]).await.unwrap();
            service.write_all(text.as_bytes()).await.unwrap();
        });
        let request = Request::builder().uri("/").header("host", "a").body(crate::body_filter::empty()).unwrap();
        match exchange(&mut sender, request).await {
            Ok(answer) => {
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                Ok(String::from_utf8(body.to_vec()).unwrap())
            }
            Err(Failed::Answer(error)) => Err(Some(error)),
            Err(Failed::Http(_)) => Err(None),
        }
    }

    #[tokio::test]
    async fn an_answer_has_one_length() {
        let with = |fields: &str, body: &str| answered(format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}"));
        assert_eq!(with("content-length: 2\r\n", "ok").await, Ok("ok".into()));
        assert_eq!(with("transfer-encoding: Chunked\r\n", "2\r\nok\r\n0\r\n\r\n").await, Ok("ok".into()));
        assert_eq!(with("", "ok").await, Ok("ok".into()));
        for fields in [
            "content-length: 2\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
            "content-length: 2\r\ncontent-length: 2\r\n",
            "content-length: 2, 2\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: identity\r\n",
        ] {
            let answer = with(fields, "2\r\nok\r\n0\r\n\r\n").await;
            assert_eq!(answer, Err(Some(AnswerError::Length)), "{fields:?}");
        }
    }

    #[tokio::test]
    async fn interim_answers_are_bounded() {
        let early = |count: usize| "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count);
        let last = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(answered(early(MAX_INTERIM) + last).await, Ok("ok".into()));
        for count in [MAX_INTERIM + 1, 1000] {
            assert_eq!(answered(early(count) + last).await, Err(Some(AnswerError::Interim)), "{count}");
        }
        let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        assert_eq!(answered(switched.into()).await, Err(Some(AnswerError::Switched)));
    }
}
