use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener as KernelListener, UnixStream as KernelStream};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use super::link::{Arrival, PeerCredentials};
use super::simulated::Simulated;
use super::tcp::arrived;
use crate::Machine;

/// A connection on a Unix socket.
pub struct UnixStream(Unix);

enum Unix {
    Kernel(KernelStream),
    Simulated(Box<Simulated>),
}

impl UnixStream {
    /// Connects as this process.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        if Machine::current().is_none() {
            return KernelStream::connect(path).await.map(|stream| Self(Unix::Kernel(stream)));
        }
        let (pid, own) = (i32::try_from(std::process::id()).unwrap_or(i32::MAX), std::fs::metadata("/proc/self")?);
        Self::connect_as(path, PeerCredentials { pid, uid: own.uid(), gid: own.gid() })
    }

    /// Connects on a simulated machine, as a process with these credentials.
    pub fn connect_as(path: &Path, peer: PeerCredentials) -> io::Result<Self> {
        let machine = Machine::current().ok_or(io::ErrorKind::Unsupported)?;
        let stream = Simulated::connect_unix(machine, path, peer)?;
        Ok(Self(Unix::Simulated(Box::new(stream))))
    }

    /// The kernel's stream, or the credentials of a simulated one's peer.
    pub fn kernel(&self) -> Result<&KernelStream, Option<PeerCredentials>> {
        match &self.0 {
            Unix::Kernel(stream) => Ok(stream),
            Unix::Simulated(stream) => Err(stream.peer),
        }
    }
}

impl From<KernelStream> for UnixStream {
    fn from(stream: KernelStream) -> Self {
        Self(Unix::Kernel(stream))
    }
}

/// Where connections on a Unix socket come in.
pub struct UnixListener(Listener);

enum Listener {
    Kernel(KernelListener),
    Simulated(Mutex<UnboundedReceiver<Arrival>>),
}

impl UnixListener {
    pub fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self(match Machine::current() {
            None => Listener::Kernel(KernelListener::bind(path)?),
            Some(machine) => Listener::Simulated(Mutex::new(machine.fabric().listen_unix(path)?)),
        }))
    }

    pub async fn accept(&self) -> io::Result<UnixStream> {
        match &self.0 {
            Listener::Kernel(listener) => listener.accept().await.map(|(stream, _)| stream.into()),
            Listener::Simulated(arrivals) => {
                arrived(arrivals).await.map(|stream| UnixStream(Unix::Simulated(Box::new(stream))))
            }
        }
    }
}

impl AsyncRead for UnixStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Unix::Kernel(stream) => Pin::new(stream).poll_read(context, buffer),
            Unix::Simulated(stream) => stream.poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Unix::Kernel(stream) => Pin::new(stream).poll_write(context, bytes),
            Unix::Simulated(stream) => stream.poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Unix::Kernel(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Unix::Simulated(stream) => {
                let first = bytes.iter().find(|part| !part.is_empty());
                stream.poll_write(context, first.map_or(&[], |part| part))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.0, Unix::Kernel(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Unix::Kernel(stream) => Pin::new(stream).poll_flush(context),
            Unix::Simulated(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Unix::Kernel(stream) => Pin::new(stream).poll_shutdown(context),
            Unix::Simulated(stream) => {
                stream.end();
                Poll::Ready(Ok(()))
            }
        }
    }
}
