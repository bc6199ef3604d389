//! HTTP/2 answers on their way to the HTTP library, which reads any number of interim answers (1xx) to a request.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::answer_head::{AnswerError, MAX_INTERIM};

/// Streams whose heads are counted at the same time. Beyond it the oldest is forgotten: a peer may go on about a stream
/// that was cancelled.
const MAX_STREAMS: usize = 4096;

/// Types of frames, and the flag of the last one of a stream (RFC 9113 §6.1, §6.2, §6.4).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// Counts the heads of each answer by their frames, without decoding them (RFC 9113 §8.1): of all heads only the last
/// one may end its stream. So a final answer without a body may follow one interim answer more.
#[derive(Default)]
struct HeadCounter {
    /// The head of the frame that is read: length, type, flags, stream.
    frame: [u8; 9],
    filled: usize,
    /// Bytes of its payload that are to come.
    payload: usize,
    heads: BTreeMap<u32, usize>,
}

impl HeadCounter {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), AnswerError> {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self.payload.min(bytes.len());
                self.payload -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            for (to, from) in self.frame.iter_mut().skip(self.filled).zip(bytes) {
                *to = *from;
            }
            let read = (self.frame.len() - self.filled).min(bytes.len());
            self.filled += read;
            bytes = bytes.get(read..).unwrap_or_default();
            if self.filled == self.frame.len() {
                self.filled = 0;
                self.count()?;
            }
        }
        Ok(())
    }

    /// Takes the frame whose head is complete.
    fn count(&mut self) -> Result<(), AnswerError> {
        let [a, b, c, kind, flags, id @ ..] = self.frame;
        self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(id) & (u32::MAX >> 1);
        match kind {
            HEADERS if flags & END_STREAM == 0 => {
                let heads = self.heads.entry(stream).or_default();
                *heads += 1;
                if *heads > MAX_INTERIM + 1 {
                    return Err(AnswerError::Interim);
                }
                if self.heads.len() > MAX_STREAMS {
                    self.heads.pop_first();
                }
            }
            // The final head has come, or nothing more comes.
            DATA | HEADERS | RST_STREAM => {
                self.heads.remove(&stream);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The client's side of an HTTP/2 connection that fails at an answer with too many interim ones.
pub(crate) struct AnswerFrames<S, R> {
    inner: S,
    heads: HeadCounter,
    /// Receives the reason.
    refuse: R,
}

impl<S, R> AnswerFrames<S, R> {
    pub(crate) fn new(inner: S, refuse: R) -> Self {
        Self { inner, heads: HeadCounter::default(), refuse }
    }
}

impl<S: AsyncRead + Unpin, R: Fn(AnswerError) + Unpin> AsyncRead for AnswerFrames<S, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        let Err(error) = self.heads.feed(fresh) else { return polled };
        (self.refuse)(error);
        buffer.set_filled(before);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
    }
}

impl<S: AsyncWrite + Unpin, R: Unpin> AsyncWrite for AnswerFrames<S, R> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http_body_util::BodyExt;
    use hyper::client::conn::http2;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// A head with one field, `:status`, literal and by its name in the static table (RFC 7541 §6.2.2).
    fn head(status: &str, flags: u8) -> Vec<u8> {
        frame(HEADERS, 4 | flags, 1, &[&[8, 3], status.as_bytes()].concat())
    }

    /// The status that a request gets from a service that answers with these frames, and what is recorded.
    async fn answered(frames: Vec<u8>) -> (Option<u16>, Vec<String>) {
        let (client, mut service) = tokio::io::duplex(65_536);
        let recorded = std::sync::Arc::new(Mutex::new(vec![]));
        let records = recorded.clone();
        let stream = AnswerFrames::new(client, move |error: AnswerError| {
            records.lock().unwrap().push(error.to_string());
        });
        let builder = http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        tokio::spawn(async move {
            // A client's preface, its settings and one request fit into one read here.
            service.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            let mut read = vec![];
            while !read.windows(5).any(|part| part[3..] == [HEADERS, 5]) {
                service.read_buf(&mut read).await.unwrap();
            }
            // One byte at a time now and then: a frame's head may come in parts.
            for part in frames.chunks(7) {
                if service.write_all(part).await.is_err() {
                    return;
                }
            }
            let _until_closed = service.read_to_end(&mut vec![]).await;
        });
        let request = http::Request::builder().uri("http://a/").body(crate::body_filter::empty()).unwrap();
        let status = match sender.send_request(request).await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                answer.into_body().collect().await.unwrap();
                Some(status)
            }
            Err(_) => None,
        };
        driver.abort();
        let recorded = std::mem::take(&mut *recorded.lock().unwrap());
        (status, recorded)
    }

    #[tokio::test]
    async fn interim_answers_over_http2_are_bounded() {
        let early = |count: usize| head("103", 0).repeat(count);
        let with_body = || [head("200", 0), frame(DATA, END_STREAM, 1, b"ok")].concat();
        assert_eq!(answered([early(MAX_INTERIM), with_body()].concat()).await, (Some(200), vec![]));
        assert_eq!(answered([early(MAX_INTERIM), head("204", END_STREAM)].concat()).await, (Some(204), vec![]));
        for count in [MAX_INTERIM + 1, 1000] {
            let refused = (None, vec![AnswerError::Interim.to_string()]);
            assert_eq!(answered([early(count), with_body()].concat()).await, refused, "{count}");
        }
    }

    #[test]
    fn answers_are_counted_one_by_one() {
        let mut counter = HeadCounter::default();
        for stream in (1..u8::MAX).step_by(2) {
            let head = frame(HEADERS, 4, stream, b"x").repeat(MAX_INTERIM + 1);
            counter.feed(&[head, frame(DATA, 0, stream, &[0; 200]), frame(HEADERS, 5, stream, b"x")].concat()).unwrap();
        }
        assert!(counter.heads.is_empty());
        for stream in 0..10_000_u32 {
            counter.feed(&[&[0, 0, 0, HEADERS, 4][..], &stream.to_be_bytes()].concat()).unwrap();
        }
        assert_eq!(counter.heads.len(), MAX_STREAMS);
    }
}
