//! The local hop: who listens behind us, and who dials us, must be the workload (walk 2).

use std::sync::Arc;

use sekisho_host::{Process, is_family, owns_tcp_listener, owns_tcp_peer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Local;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    #[error("{at}: {source}")]
    Io { at: String, source: std::io::Error },
    #[error("{0} is not the workload's: another process listens there")]
    NotTheWorkload(String),
    #[error("the workload has ended")]
    Ended,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the service, and makes sure that it is the workload that answers.
pub(crate) async fn connect(at: &Local, workload: &Arc<Process>) -> Result<Box<dyn Stream>, LocalError> {
    let io = |source| LocalError::Io { at: at.to_string(), source };
    let (stream, owner): (Box<dyn Stream>, Option<i32>) = match at {
        Local::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(io)?;
            let _best_effort = stream.set_nodelay(true);
            (Box::new(stream), None)
        }
        Local::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(io)?;
            let owner = stream.peer_cred().map_err(io)?.pid();
            (Box::new(stream), owner)
        }
    };
    let (at, process) = (at.clone(), workload.clone());
    let ours = tokio::task::spawn_blocking(move || match (&at, owner) {
        (Local::Tcp(address), _) => owns_tcp_listener(&process, *address),
        (Local::Unix(_), Some(pid)) => is_family(&process, pid),
        (Local::Unix(_), None) => Ok(false),
    });
    match ours.await {
        Ok(Ok(true)) => Ok(stream),
        Ok(Ok(false)) => Err(LocalError::NotTheWorkload(at_text(workload))),
        _ => Err(LocalError::Ended),
    }
}

fn at_text(workload: &Process) -> String {
    format!("the upstream of process {}", workload.pid())
}

/// Whether the workload is at the other end of an accepted TCP connection.
pub(crate) async fn is_workload_tcp(stream: &TcpStream, workload: &Arc<Process>) -> bool {
    let (Ok(remote), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return false };
    let process = workload.clone();
    let owned = tokio::task::spawn_blocking(move || owns_tcp_peer(&process, remote, local));
    matches!(owned.await, Ok(Ok(true)))
}

/// Whether the workload is at the other end of an accepted Unix connection.
pub(crate) async fn is_workload_unix(stream: &UnixStream, workload: &Arc<Process>) -> bool {
    let Some(pid) = stream.peer_cred().ok().and_then(|credentials| credentials.pid()) else { return false };
    let process = workload.clone();
    let ours = tokio::task::spawn_blocking(move || is_family(&process, pid));
    matches!(ours.await, Ok(Ok(true)))
}
