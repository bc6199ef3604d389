use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener as KernelListener, TcpStream as KernelStream};

use super::stream::{Kind, Stream};
use crate::Machine;
use crate::simulation::{SimulatedListener, SimulatedStream};

/// A TCP connection.
pub type TcpStream = Stream<KernelStream>;

impl TcpStream {
    /// Connects to the first of these addresses that answers.
    pub async fn connect(addresses: &[SocketAddr]) -> io::Result<Self> {
        let Some(machine) = Machine::current() else { return KernelStream::connect(addresses).await.map(Self::from) };
        let address = addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self(SimulatedStream::connect_tcp(machine, *address).await?.into()))
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
            Kind::Kernel(stream) => stream.peer_addr(),
            Kind::Simulated(stream) => Ok(stream.remote()),
        }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Kind::Kernel(stream) => stream.local_addr(),
            Kind::Simulated(stream) => Ok(stream.local()),
        }
    }

    pub fn set_nodelay(&self, is_on: bool) -> io::Result<()> {
        match &self.0 {
            Kind::Kernel(stream) => stream.set_nodelay(is_on),
            Kind::Simulated(_) => Ok(()),
        }
    }
}

/// Where TCP connections come in.
pub struct TcpListener(Listener);

enum Listener {
    Kernel(KernelListener),
    Simulated(SimulatedListener),
}

impl TcpListener {
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(match Machine::current() {
            None => Listener::Kernel(KernelListener::bind(address).await?),
            Some(machine) => Listener::Simulated(SimulatedListener::tcp(&machine, address)?),
        }))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Listener::Kernel(listener) => listener.local_addr(),
            Listener::Simulated(listener) => Ok(listener.address()),
        }
    }

    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.0 {
            Listener::Kernel(listener) => listener.accept().await.map(|(stream, from)| (stream.into(), from)),
            Listener::Simulated(listener) => {
                let stream = listener.accept().await?;
                let from = stream.remote();
                Ok((Stream(stream.into()), from))
            }
        }
    }
}
