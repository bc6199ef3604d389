//! The local hop: who listens behind us, and who dials us, must be the workload (flow 2).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sekisho_host::{HostError, Owner, Ownership, TcpState, cookie_of, tcp_socket};
use sekisho_net::peer_of;
use sekisho_ports::UnixStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::Local;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    #[error("{at}: {source}")]
    Io { at: String, source: io::Error },
    /// An attack, or a service that is wired wrongly: it is recorded.
    #[error("{0}")]
    NotTheWorkload(String),
    #[error(transparent)]
    Unknown(#[from] HostError),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the service, and makes sure that it is the workload that answers.
pub(crate) async fn connect(at: &Local, workload: &Arc<Ownership>) -> Result<Box<dyn Stream>, LocalError> {
    let io = |source| LocalError::Io { at: at.to_string(), source };
    let refused = |reason: &str| {
        let pid = workload.process().pid();
        Err(LocalError::NotTheWorkload(format!("{at} is not the upstream of process {pid}: {reason}")))
    };
    match at {
        Local::Tcp(address) => {
            let connected = TcpStream::connect(address).await;
            let stream = connected.inspect_err(|_| workload.forget_listener(*address)).map_err(io)?;
            let _best_effort = stream.set_nodelay(true);
            let local = stream.local_addr().map_err(io)?;
            match workload.of_tcp_service(local, *address).await? {
                Owner::Workload => Ok(Box::new(stream)),
                Owner::Other { uid, pid } => {
                    refused(&format!("another process listens there, {}of uid {uid}", number(pid)))
                }
                Owner::Gone => Err(io(io::ErrorKind::ConnectionReset.into())),
            }
        }
        Local::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(io)?;
            let peer = peer_of(&stream).map_err(io)?;
            let (workload, pid) = (workload.clone(), peer.pid);
            let owner = blocking(move || workload.of_unix_peer(peer.pid, peer.uid, peer.pidfd)).await?;
            match owner {
                Owner::Other { uid, .. } => refused(&format!("another process listens there, {pid} of uid {uid}")),
                _ => Ok(Box::new(stream)),
            }
        }
    }
}

/// Fails unless the workload is at the other end of an accepted TCP connection. Nothing has been read from it yet, and
/// what it holds is dropped with it.
pub(crate) async fn check_tcp(stream: &TcpStream, workload: &Arc<Ownership>) -> Result<Caller, LocalError> {
    let io = |source| LocalError::Io { at: "an accepted connection".into(), source };
    let (remote, local) = (stream.peer_addr().map_err(io)?, stream.local_addr().map_err(io)?);
    let cookie = cookie_of(stream).map_err(io)?;
    let other = |what: String| Err(LocalError::NotTheWorkload(what));
    match workload.of_tcp_peer(local, remote, cookie).await? {
        Owner::Workload => Ok(Caller::Tcp { local, remote }),
        Owner::Other { uid, pid } => other(format!(
            "another process than the workload dialled: {}uid {uid}, port {}",
            number(pid),
            remote.port()
        )),
        Owner::Gone => other(format!("a connection from port {} was closed before its owner was known", remote.port())),
    }
}

/// Fails unless the workload is at the other end of an accepted Unix connection.
pub(crate) async fn check_unix(stream: &UnixStream, workload: &Arc<Ownership>) -> Result<Caller, LocalError> {
    let io = |source| LocalError::Io { at: "an accepted connection".into(), source };
    let peer = peer_of(stream).map_err(io)?;
    let (workload, pid) = (workload.clone(), peer.pid);
    match blocking(move || workload.of_unix_peer(peer.pid, peer.uid, peer.pidfd)).await? {
        Owner::Workload => {
            let kept = stream.kernel().ok().map(|stream| stream.as_fd().try_clone_to_owned()).transpose();
            Ok(Caller::Unix(kept.map_err(io)?))
        }
        Owner::Other { .. } | Owner::Gone => Err(LocalError::NotTheWorkload(format!(
            "another process than the workload dialled: {pid} of uid {}",
            peer.uid
        ))),
    }
}

/// The other end of an accepted connection, which may leave while its request waits for an answer.
pub(crate) enum Caller {
    /// The ends of the connection: ours and the caller's.
    Tcp { local: SocketAddr, remote: SocketAddr },
    /// The same socket; none in a simulation.
    Unix(Option<OwnedFd>),
}

/// Between two looks at a caller: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Caller {
    /// Returns soon after the caller has closed its connection. One that has only sent its last byte still reads: bytes
    /// do not tell the two apart, but the kernel does.
    pub(crate) async fn leaves(&self) {
        let mut pause = FIRST_LOOK;
        loop {
            tokio::time::sleep(pause).await;
            if self.has_left() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn has_left(&self) -> bool {
        match self {
            // Its socket outlives its process for a while.
            Self::Tcp { local, remote } => match tcp_socket(*remote, *local) {
                Ok(Some(found)) => {
                    found.inode == 0 || !matches!(found.state, TcpState::Established | TcpState::HalfClosed)
                }
                Ok(None) => true,
                Err(_) => false,
            },
            Self::Unix(Some(socket)) => {
                let mut polled = [PollFd::new(socket, PollFlags::empty())];
                let looked = poll(&mut polled, Some(&Timespec::default())).is_ok();
                looked && polled.iter().any(|end| end.revents().intersects(PollFlags::HUP | PollFlags::ERR))
            }
            Self::Unix(None) => false,
        }
    }
}

/// The number of a process for the record, if it was found out.
fn number(pid: Option<i32>) -> String {
    pid.map(|pid| format!("process {pid} ")).unwrap_or_default()
}

async fn blocking(look: impl FnOnce() -> Result<Owner, HostError> + Send + 'static) -> Result<Owner, LocalError> {
    let looked = sekisho_runtime::blocking(look).await;
    Ok(looked.map_err(|error| LocalError::Io { at: "/proc".into(), source: io::Error::other(error) })??)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_half_close_is_not_a_departure() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, remote) = listener.accept().await.unwrap();
        let tcp = Caller::Tcp { local: accepted.local_addr().unwrap(), remote };
        let (mut unix_client, unix) = tokio::net::UnixStream::pair().unwrap();
        let unix = Caller::Unix(Some(unix.as_fd().try_clone_to_owned().unwrap()));
        assert!(!tcp.has_left() && !unix.has_left());
        client.shutdown().await.unwrap();
        unix_client.shutdown().await.unwrap();
        assert!(!tcp.has_left() && !unix.has_left());
        drop((client, unix_client));
        let both = async { tokio::join!(tcp.leaves(), unix.leaves()) };
        tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    }
}
