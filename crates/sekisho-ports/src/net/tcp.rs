use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener as KernelListener, TcpStream as KernelStream};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use super::link::Arrival;
use super::simulated::Simulated;
use crate::Machine;

/// A TCP connection.
pub struct TcpStream(Tcp);

enum Tcp {
    Kernel(KernelStream),
    Simulated(Box<Simulated>),
}

impl TcpStream {
    /// Connects to the first of these addresses that answers.
    pub async fn connect(addresses: &[SocketAddr]) -> io::Result<Self> {
        let Some(machine) = Machine::current() else { return KernelStream::connect(addresses).await.map(Self::from) };
        let address = addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let stream = Simulated::connect_tcp(machine, *address).await?;
        Ok(Self(Tcp::Simulated(Box::new(stream))))
    }

    /// Connects to `host:port`. A simulated network has no names.
    pub async fn connect_to(address: &str) -> io::Result<Self> {
        if Machine::current().is_none() {
            return KernelStream::connect(address).await.map(Self::from);
        }
        let address = address.parse().map_err(|_| io::ErrorKind::AddrNotAvailable)?;
        Self::connect(&[address]).await
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Tcp::Kernel(stream) => stream.peer_addr(),
            Tcp::Simulated(stream) => Ok(stream.remote),
        }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Tcp::Kernel(stream) => stream.local_addr(),
            Tcp::Simulated(stream) => Ok(stream.local),
        }
    }

    pub fn set_nodelay(&self, is_on: bool) -> io::Result<()> {
        match &self.0 {
            Tcp::Kernel(stream) => stream.set_nodelay(is_on),
            Tcp::Simulated(_) => Ok(()),
        }
    }
}

impl From<KernelStream> for TcpStream {
    fn from(stream: KernelStream) -> Self {
        Self(Tcp::Kernel(stream))
    }
}

/// Where TCP connections come in.
pub struct TcpListener(Listener);

enum Listener {
    Kernel(KernelListener),
    Simulated(SocketAddr, Mutex<UnboundedReceiver<Arrival>>),
}

impl TcpListener {
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let Some(machine) = Machine::current() else {
            return KernelListener::bind(address).await.map(|listener| Self(Listener::Kernel(listener)));
        };
        let (address, arrivals) = machine.fabric().listen_tcp(SocketAddr::new(machine.address(), address.port()))?;
        Ok(Self(Listener::Simulated(address, Mutex::new(arrivals))))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Listener::Kernel(listener) => listener.local_addr(),
            Listener::Simulated(address, _) => Ok(*address),
        }
    }

    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.0 {
            Listener::Kernel(listener) => listener.accept().await.map(|(stream, from)| (stream.into(), from)),
            Listener::Simulated(_, arrivals) => {
                let stream = arrived(arrivals).await?;
                let from = stream.remote;
                Ok((TcpStream(Tcp::Simulated(Box::new(stream))), from))
            }
        }
    }
}

/// The next connection at a simulated listener.
pub(super) async fn arrived(arrivals: &Mutex<UnboundedReceiver<Arrival>>) -> io::Result<Simulated> {
    let gone = || io::Error::from(io::ErrorKind::NotConnected);
    let machine = Machine::current().ok_or_else(gone)?;
    let arrival = arrivals.lock().await.recv().await.ok_or_else(gone)?;
    tokio::time::sleep(arrival.at.saturating_sub(machine.elapsed())).await;
    Ok(Simulated::accepted_by(machine, arrival))
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Tcp::Kernel(stream) => Pin::new(stream).poll_read(context, buffer),
            Tcp::Simulated(stream) => stream.poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Tcp::Kernel(stream) => Pin::new(stream).poll_write(context, bytes),
            Tcp::Simulated(stream) => stream.poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Tcp::Kernel(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Tcp::Simulated(stream) => {
                let first = bytes.iter().find(|part| !part.is_empty());
                stream.poll_write(context, first.map_or(&[], |part| part))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.0, Tcp::Kernel(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Tcp::Kernel(stream) => Pin::new(stream).poll_flush(context),
            Tcp::Simulated(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Tcp::Kernel(stream) => Pin::new(stream).poll_shutdown(context),
            Tcp::Simulated(stream) => {
                stream.end();
                Poll::Ready(Ok(()))
            }
        }
    }
}
