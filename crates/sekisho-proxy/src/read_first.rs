//! A connection to the service on which an answer that has come is not lost to a failing write: a service may answer
//! before it has read a request's body, and close (RFC 9112 §9.5).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Once a write has failed, it is reading that says how the connection ends.
pub(crate) struct ReadFirst<S> {
    inner: S,
    writes_fail: bool,
}

impl<S> ReadFirst<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner, writes_fail: false }
    }

    /// Hides that the service reads no more. Its last bytes are read from the kernel before the error is (the read that
    /// follows ends the connection), and nothing more is asked of the request's body meanwhile.
    fn written<T>(&mut self, written: Poll<io::Result<T>>, context: &Context<'_>) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = &written else { return written };
        if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            return written;
        }
        tracing::debug!(%error, "the service reads no more of a request; its answer is waited for");
        self.writes_fail = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadFirst<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadFirst<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.writes_fail {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.writes_fail {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writes_fail {
            return Poll::Pending;
        }
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.written(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
