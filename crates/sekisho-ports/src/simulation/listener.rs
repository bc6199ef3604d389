//! Where simulated connections come in.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use super::link::Arrival;
use super::machine::Machine;
use super::stream::SimulatedStream;

pub(crate) struct SimulatedListener {
    address: SocketAddr,
    arrivals: Mutex<UnboundedReceiver<Arrival>>,
}

impl SimulatedListener {
    pub(crate) fn tcp(machine: &Arc<Machine>, address: SocketAddr) -> io::Result<Self> {
        let address = SocketAddr::new(machine.address(), address.port());
        let (address, arrivals) = machine.fabric().listen_tcp(address)?;
        Ok(Self { address, arrivals: Mutex::new(arrivals) })
    }

    pub(crate) fn unix(machine: &Arc<Machine>, path: &Path) -> io::Result<Self> {
        let arrivals = machine.fabric().listen_unix(path)?;
        Ok(Self { address: SocketAddr::new(machine.address(), 0), arrivals: Mutex::new(arrivals) })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<SimulatedStream> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let machine = Machine::current().ok_or_else(gone)?;
        let arrival = self.arrivals.lock().await.recv().await.ok_or_else(gone)?;
        tokio::time::sleep(arrival.at.saturating_sub(machine.elapsed())).await;
        Ok(SimulatedStream::accepted_by(machine, arrival))
    }
}
