use std::io;
use std::path::Path;

use tokio::net::{UnixListener as KernelListener, UnixStream as KernelStream};

use super::stream::{Kind, Stream};
use crate::Machine;
use crate::peer::PeerCredentials;
use crate::simulation::{SimulatedListener, SimulatedStream};

/// A connection on a Unix socket.
pub type UnixStream = Stream<KernelStream>;

impl UnixStream {
    /// Connects as this process, or as the one that a simulated machine's programs are.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let Some(machine) = Machine::current() else { return KernelStream::connect(path).await.map(Self::from) };
        if let Some(process) = machine.process() {
            return Self::connect_as(path, process);
        }
        let (pid, own) = (i32::try_from(std::process::id()).unwrap_or(i32::MAX), std::fs::metadata("/proc/self")?);
        Self::connect_as(path, PeerCredentials { pid, uid: own.uid(), gid: own.gid() })
    }

    /// Connects on a simulated machine, as a process with these credentials.
    pub fn connect_as(path: &Path, peer: PeerCredentials) -> io::Result<Self> {
        let machine = Machine::current().ok_or(io::ErrorKind::Unsupported)?;
        Ok(Self(SimulatedStream::connect_unix(&machine, path, peer)?.into()))
    }

    /// The kernel's stream, or the credentials of a simulated one's peer.
    pub fn kernel(&self) -> Result<&KernelStream, Option<PeerCredentials>> {
        match &self.0 {
            Kind::Kernel(stream) => Ok(stream),
            Kind::Simulated(stream) => Err(stream.peer()),
        }
    }
}

/// Where connections on a Unix socket come in.
pub struct UnixListener(Listener);

enum Listener {
    Kernel(KernelListener),
    Simulated(SimulatedListener),
}

impl UnixListener {
    pub fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self(match Machine::current() {
            None => Listener::Kernel(KernelListener::bind(path)?),
            Some(machine) => Listener::Simulated(SimulatedListener::unix(&machine, path)?),
        }))
    }

    pub async fn accept(&self) -> io::Result<UnixStream> {
        match &self.0 {
            Listener::Kernel(listener) => listener.accept().await.map(|(stream, _)| stream.into()),
            Listener::Simulated(listener) => Ok(Stream(listener.accept().await?.into())),
        }
    }
}
