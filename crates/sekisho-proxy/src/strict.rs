//! A byte stream that is scanned on its way to the HTTP library, and refused where its framing could be read in two ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http1_scan::Scanner;

const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

pub(crate) struct Strict<S, R> {
    inner: S,
    scanner: Scanner,
    refused: bool,
    /// Whether anything was written: an answer may have begun, and a refusal would become part of its body.
    answering: bool,
    /// Hears why the connection was refused.
    refuse: R,
}

impl<S, R: Fn(&str)> Strict<S, R> {
    pub(crate) const fn new(inner: S, refuse: R) -> Self {
        Self { inner, scanner: Scanner::new(), refused: false, answering: false, refuse }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Fn(&str) + Unpin> AsyncRead for Strict<S, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let refuse = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        if self.refused {
            return Poll::Ready(Err(refuse("the connection was refused".into())));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if !matches!(polled, Poll::Ready(Ok(()))) {
            return polled;
        }
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        if let Err(error) = self.scanner.feed(fresh) {
            (self.refuse)(&error.to_string());
            self.refused = true;
            buffer.set_filled(before);
            // Only where no request came before: what it asked for may be on its way. The connection ends either way.
            if !self.answering && self.scanner.is_first() {
                let _best_effort = Pin::new(&mut self.inner).poll_write(context, REFUSAL);
                let _best_effort = Pin::new(&mut self.inner).poll_flush(context);
            }
            return Poll::Ready(Err(refuse(error.to_string())));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin, R: Unpin> AsyncWrite for Strict<S, R> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Nothing follows a refusal.
        if self.refused {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.answering = true;
        Pin::new(&mut self.inner).poll_write(context, bytes)
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
    async fn garbage_while_an_answer_streams_writes_nothing_into_it() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let (good, bad) = (get.as_bytes(), [get, "garbage\n"].concat());
        assert_eq!(seen(good, true).await, "ab");
        assert_eq!(seen(b"garbage\n", true).await, "a");
        // Asked for, and not begun.
        assert_eq!(seen(bad.as_bytes(), false).await, "");
        assert!(seen(b"garbage\n", false).await.starts_with("HTTP/1.1 400"));
    }
}
