use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::simulation::SimulatedStream;

/// A connection: the kernel's, of kind `K`, or a simulated one.
pub struct Stream<K>(pub(super) Kind<K>);

pub(super) enum Kind<K> {
    Kernel(K),
    Simulated(Box<SimulatedStream>),
}

impl<K> From<K> for Stream<K> {
    fn from(stream: K) -> Self {
        Self(Kind::Kernel(stream))
    }
}

impl<K> From<SimulatedStream> for Kind<K> {
    fn from(stream: SimulatedStream) -> Self {
        Self::Simulated(Box::new(stream))
    }
}

impl<K: AsyncRead + Unpin> AsyncRead for Stream<K> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Kernel(stream) => Pin::new(stream).poll_read(context, buffer),
            Kind::Simulated(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl<K: AsyncWrite + Unpin> AsyncWrite for Stream<K> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Kernel(stream) => Pin::new(stream).poll_write(context, bytes),
            Kind::Simulated(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Kernel(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Kind::Simulated(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Kernel(stream) => stream.is_write_vectored(),
            Kind::Simulated(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Kernel(stream) => Pin::new(stream).poll_flush(context),
            Kind::Simulated(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Kernel(stream) => Pin::new(stream).poll_shutdown(context),
            Kind::Simulated(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
