//! A byte stream that is scanned on its way to the HTTP library, and refused where its framing could be read in two
//! ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::http1_scan::{Framing, Scanner};

/// How long a connection that ends is read on. One that is closed while bytes of its peer come is reset, and the peer
/// loses an answer that it has not read (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
/// And how many bytes of it at most: a peer that sends faster than any upload is not heard out.
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// How long a head may take from its first byte to its last.
const HEAD: Duration = Duration::from_secs(10);

pub(crate) struct Strict<S, R> {
    inner: S,
    scanner: Scanner,
    refused: Option<Framing>,
    /// Whether anything was written: an answer may have begun, and a refusal would become part of its body.
    answering: bool,
    /// Whether the peer has closed its side.
    is_closed: bool,
    lingers: Option<Pin<Box<Sleep>>>,
    /// When the head that has begun must be whole.
    head_ends: Option<Pin<Box<Sleep>>>,
    /// Bytes that were read while the connection closed.
    lingered: usize,
    /// Hears why the connection was refused.
    refuse: R,
}

impl<S, R: Fn(&str)> Strict<S, R> {
    pub(crate) const fn new(inner: S, refuse: R) -> Self {
        Self {
            inner,
            scanner: Scanner::new(),
            refused: None,
            answering: false,
            is_closed: false,
            lingers: None,
            head_ends: None,
            lingered: 0,
            refuse,
        }
    }
}

/// The answer to what is not a request: as any other refusal, in the form of RFC 9457.
fn refusal(reason: Framing) -> Vec<u8> {
    let body = serde_json::json!({"status": 400, "detail": reason.to_string(), "decision": null}).to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn invalid(reason: Framing) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Fn(&str) + Unpin> Strict<S, R> {
    /// Nothing comes at the moment: an error once the head that has begun is late.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.scanner.is_in_head() {
            return Poll::Pending;
        }
        let ends = self.head_ends.get_or_insert_with(|| Box::pin(sleep(HEAD)));
        ready!(ends.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Stops reading. Returns how many of the `fresh` bytes are still good.
    fn stop(&mut self, reason: Framing, fresh: usize, context: &mut Context<'_>) -> usize {
        (self.refuse)(&reason.to_string());
        self.refused = Some(reason);
        if reason == Framing::Trailers {
            // They belong to a request that is read already, and its answer says so.
            return fresh.saturating_sub(self.scanner.unread());
        }
        // Only where no request came before: what it asked for may be on its way. The connection ends either way.
        if !self.answering && self.scanner.is_first() {
            let _best_effort = Pin::new(&mut self.inner).poll_write(context, &refusal(reason));
            let _best_effort = Pin::new(&mut self.inner).poll_flush(context);
        }
        0
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Fn(&str) + Unpin> AsyncRead for Strict<S, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(reason) = self.refused {
            return Poll::Ready(Err(invalid(reason)));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if polled.is_pending() {
            return self.poll_head(context);
        }
        if !matches!(polled, Poll::Ready(Ok(()))) {
            return polled;
        }
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        self.is_closed |= fresh.is_empty();
        let Err(reason) = self.scanner.feed(fresh) else {
            if !self.scanner.is_in_head() {
                self.head_ends = None;
            }
            return polled;
        };
        let fresh = fresh.len();
        let good = self.stop(reason, fresh, context);
        buffer.set_filled(before + good);
        if good > 0 { polled } else { Poll::Ready(Err(invalid(reason))) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Unpin> AsyncWrite for Strict<S, R> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Nothing follows a refusal.
        if self.refused.is_some_and(|reason| reason != Framing::Trailers) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.answering = true;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    /// Closes our side, and reads on until the peer has closed its side too.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(context))?;
        }
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut space = [0u8; 8192];
        while !this.is_closed && lingers.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut this.inner).poll_read(context, &mut buffer));
            this.lingered += buffer.filled().len();
            this.is_closed = read.is_err() || buffer.filled().is_empty() || this.lingered > LINGER_BYTES;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// What a client sees that sends `requests`, of an answer that begins with "a"; `None` answers nothing.
    async fn seen(requests: &[u8], answers: bool) -> String {
        let (mut client, server) = duplex(4096);
        let mut strict = Strict::new(server, |_: &str| {});
        let mut buffer = [0u8; 4096];
        if answers {
            strict.write_all(b"a").await.unwrap();
        }
        client.write_all(requests).await.unwrap();
        let read = strict.read(&mut buffer).await;
        assert_eq!(read.is_err(), requests.ends_with(b"garbage\n"));
        // What the answer still had to say does not follow a refusal.
        let _aborted = strict.write_all(if answers { b"b" } else { b"" }).await;
        drop(strict);
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        seen
    }

    #[tokio::test]
    async fn garbage_does_not_change_a_streaming_answer() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let (good, bad) = (get.as_bytes(), [get, "garbage\n"].concat());
        assert_eq!(seen(good, true).await, "ab");
        assert_eq!(seen(b"garbage\n", true).await, "a");
        // Asked for, and not begun.
        assert_eq!(seen(bad.as_bytes(), false).await, "");
        let refused = seen(b"garbage\n", false).await;
        assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("a line does not end in CR LF"), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_must_come_in_time() {
        let (mut client, server) = duplex(4096);
        let mut strict = Strict::new(server, |_: &str| {});
        let mut buffer = [0u8; 4096];
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        assert_eq!(strict.read(&mut buffer).await.unwrap(), request.len());
        let idle = tokio::time::timeout(HEAD * 6, strict.read(&mut buffer)).await;
        assert!(idle.is_err(), "nothing has begun");
        client.write_all(&request[..5]).await.unwrap();
        assert_eq!(strict.read(&mut buffer).await.unwrap(), 5);
        let late = tokio::time::timeout(HEAD * 2, strict.read(&mut buffer)).await.unwrap().unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn trailers_finish_the_request_before_its_answer() {
        let (mut client, server) = duplex(4096);
        let mut strict = Strict::new(server, |_: &str| {});
        client.write_all(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n").await.unwrap();
        let mut read = Vec::new();
        let error = strict.read_to_end(&mut read).await.unwrap_err();
        assert!(read.ends_with(b"0\r\n") && error.to_string().contains("trailers"), "{error}");
        strict.write_all(b"no").await.unwrap();
        drop(strict);
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "no");
    }

    #[tokio::test]
    async fn an_early_answer_is_not_lost() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut strict = Strict::new(tokio::net::TcpStream::from_std(server).unwrap(), |_: &str| {});
        let seen = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            client.write_all(b"POST / HTTP/1.1\r\ncontent-length: 6000000\r\n\r\n").unwrap();
            let sent = client.write_all(&[b'x'; 6_000_000]);
            let mut seen = String::new();
            (sent.is_ok(), client.read_to_string(&mut seen).is_ok(), seen)
        });
        strict.write_all(b"too large").await.unwrap();
        strict.shutdown().await.unwrap();
        drop(strict);
        assert_eq!(seen.await.unwrap(), (true, true, "too large".to_owned()));
    }
}
