//! The local hop: who listens behind us, and who dials us, must be the workload (flow 2).

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sekisho_host::{HostError, Owner, Ownership, TcpState, cookie_of, tcp_socket};
use sekisho_net::peer_of;
use sekisho_ports::UnixStream;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, Ready};
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
        Owner::Workload => Caller::new(Ends::Tcp { local, remote }, Some(stream.as_fd())).map_err(io),
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
        Owner::Workload => Caller::new(Ends::Unix, stream.kernel().ok().map(|stream| stream.as_fd())).map_err(io),
        Owner::Other { .. } | Owner::Gone => Err(LocalError::NotTheWorkload(format!(
            "another process than the workload dialled: {pid} of uid {}",
            peer.uid
        ))),
    }
}

/// The other end of an accepted connection, which may leave while its request waits for an answer.
pub(crate) struct Caller {
    ends: Ends,
    /// Our end once more, which only its hang-up is read from; none in a simulation.
    socket: Option<OwnedFd>,
    events: OnceLock<Option<AsyncFd<OwnedFd>>>,
}

enum Ends {
    /// Ours and the caller's.
    Tcp {
        local: SocketAddr,
        remote: SocketAddr,
    },
    Unix,
}

/// Most requests are answered before the kernel is asked for events.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// Between two looks at a caller that has sent its last byte.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Caller {
    fn new(ends: Ends, socket: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let socket = socket.map(|socket| socket.try_clone_to_owned()).transpose()?;
        Ok(Self { ends, socket, events: OnceLock::new() })
    }

    /// Returns soon after the caller has closed its connection. One that has only sent its last byte still reads.
    ///
    /// Of a Unix socket the kernel tells both ends' closing by a hang-up. Over TCP a close and a last byte are one FIN
    /// (RFC 9293 §3.6), and a close that follows a FIN sends nothing. So the FIN is waited for, and from then on the
    /// kernel is asked whether a process has the caller's socket.
    pub(crate) async fn leaves(&self) {
        tokio::time::sleep(FIRST_LOOK).await;
        match self.ends {
            Ends::Unix => self.event(Interest::WRITABLE, Ready::is_write_closed).await,
            Ends::Tcp { local, remote } => {
                self.event(Interest::READABLE, Ready::is_read_closed).await;
                let mut pause = FIRST_LOOK;
                while !is_closed(remote, local) {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Returns once the kernel says so of our end; never if there is nothing to ask.
    async fn event(&self, interest: Interest, is_it: fn(Ready) -> bool) {
        let register = || {
            let socket = self.socket.as_ref()?.try_clone().ok()?;
            #[expect(
                deprecated,
                reason = "its replacement is unsafe; an OwnedFd keeps its descriptor, which is what is asked for"
            )]
            let events = AsyncFd::with_interest(socket, interest);
            events.ok()
        };
        let Some(events) = self.events.get_or_init(register) else { return pending().await };
        while let Ok(mut guard) = events.ready(interest).await {
            if is_it(guard.ready()) {
                return;
            }
            guard.clear_ready();
            // The bytes of a long request say nothing, and come often.
            tokio::time::sleep(FIRST_LOOK).await;
        }
        pending().await
    }
}

/// Whether no process has this end of a connection any more. Its socket outlives its process for a while.
fn is_closed(end: SocketAddr, other: SocketAddr) -> bool {
    match tcp_socket(end, other) {
        Ok(Some(found)) => found.inode == 0 || !matches!(found.state, TcpState::Established | TcpState::HalfClosed),
        Ok(None) => true,
        Err(_) => false,
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

    type Both = (TcpStream, tokio::net::UnixStream);

    /// Callers over TCP and over a Unix socket: what they hold, what we know of them, and our ends.
    async fn callers() -> (Both, [Caller; 2], Both) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, remote) = listener.accept().await.unwrap();
        let ends = Ends::Tcp { local: accepted.local_addr().unwrap(), remote };
        let tcp = Caller::new(ends, Some(accepted.as_fd())).unwrap();
        let (unix_client, unix_end) = tokio::net::UnixStream::pair().unwrap();
        let unix = Caller::new(Ends::Unix, Some(unix_end.as_fd())).unwrap();
        ((client, unix_client), [tcp, unix], (accepted, unix_end))
    }

    async fn have_left(callers: &[Caller; 2], within: Duration) -> [bool; 2] {
        let [tcp, unix] = callers;
        let left = |caller| tokio::time::timeout(within, Caller::leaves(caller));
        let (tcp, unix) = tokio::join!(left(tcp), left(unix));
        [tcp.is_ok(), unix.is_ok()]
    }

    #[tokio::test]
    async fn a_half_close_is_not_a_departure() {
        let ((mut client, mut unix_client), callers, _held) = callers().await;
        client.write_all(b"a").await.unwrap();
        assert_eq!(have_left(&callers, 3 * FIRST_LOOK).await, [false; 2]);
        client.shutdown().await.unwrap();
        unix_client.shutdown().await.unwrap();
        assert_eq!(have_left(&callers, 3 * FIRST_LOOK).await, [false; 2]);
        drop((client, unix_client));
        assert_eq!(have_left(&callers, Duration::from_secs(10)).await, [true; 2]);
    }

    /// The clock stands still while the kernel's events are waited for, and runs on with each pause.
    #[tokio::test(start_paused = true)]
    async fn a_departure_is_an_event() {
        let (clients, callers, _held) = callers().await;
        let began = sekisho_runtime::instant();
        let leaver = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(clients);
        });
        let [tcp, unix] = &callers;
        tokio::join!(tcp.leaves(), unix.leaves());
        assert!(began.elapsed() <= 3 * FIRST_LOOK, "{:?}", began.elapsed());
        leaver.join().unwrap();
    }
}
