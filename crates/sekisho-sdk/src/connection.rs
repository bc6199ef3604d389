use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection as Pooled};
use sekisho_net::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Peer;
use crate::lifetime::{Lifetime, Waiting};

/// A TLS connection to a peer whose SVID is verified. Reading and writing fail when the first of the two SVIDs expires,
/// and when the peer is revoked.
pub struct Connection {
    stream: TlsStream,
    peer: Peer,
    lifetime: Lifetime,
    /// Of a client's connection.
    retirement: Option<Retirement>,
}

/// When a client's connection should get no further requests, and the flag that says so to its pool.
pub(crate) struct Retirement {
    pub due: Waiting<()>,
    pub flag: Arc<AtomicBool>,
}

impl Connection {
    pub(crate) fn new(stream: TlsStream, peer: Peer, lifetime: Lifetime, retirement: Option<Retirement>) -> Self {
        Self { stream, peer, lifetime, retirement }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    fn retire(&mut self, context: &mut Context<'_>) {
        if let Some(Retirement { due, flag }) = &mut self.retirement
            && due.as_mut().poll(context).is_ready()
        {
            flag.store(true, Ordering::Release);
            self.retirement = None;
        }
    }
}

fn still(closed: Option<String>) -> io::Result<()> {
    closed.map_or(Ok(()), |why| Err(io::Error::new(ErrorKind::ConnectionAborted, why)))
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        still(this.lifetime.poll(context))?;
        this.retire(context);
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        still(this.lifetime.check())?;
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        still(this.lifetime.check())?;
        Pin::new(&mut this.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Responses over it have the [`Peer`] among their extensions.
impl Pooled for Connection {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.peer.clone());
        match self.stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => connected.negotiated_h2(),
            _ => connected,
        }
    }
}

/// Requests over it have the [`Peer`] among their extensions.
impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}
