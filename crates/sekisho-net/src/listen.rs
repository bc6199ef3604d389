use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use sekisho_ports::{TcpListener, TcpStream, UnixListener, UnixStream, is_simulated};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::ending::end_streams;
use crate::peer_credentials::peer_of;
use crate::refused::broken_rule;
use crate::unix_authority::UnixAuthority;
use crate::unix_slots::{State, UnixSlots};
use crate::{NetError, UnixPeer};

/// A connection without a request by then is closed: until its first request it is only a cost.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Time for open requests to finish after a stop was requested.
const DRAIN: Duration = Duration::from_secs(5);

/// Where connections come in.
pub trait Listens: Sync {
    type Stream: Send;
    fn accept_one(&self) -> impl Future<Output = std::io::Result<Self::Stream>> + Send;
}

impl Listens for TcpListener {
    type Stream = (TcpStream, SocketAddr);

    async fn accept_one(&self) -> std::io::Result<Self::Stream> {
        self.accept().await
    }
}

impl Listens for tokio::net::TcpListener {
    type Stream = (tokio::net::TcpStream, SocketAddr);

    async fn accept_one(&self) -> std::io::Result<Self::Stream> {
        self.accept().await
    }
}

impl Listens for UnixListener {
    type Stream = UnixStream;

    async fn accept_one(&self) -> std::io::Result<Self::Stream> {
        self.accept().await
    }
}

/// Accepts until `stop`, and pauses where accepting fails: out of descriptors, it would spin.
pub async fn accept_each<L: Listens>(listener: &L, stop: &CancellationToken, mut each: impl FnMut(L::Stream)) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept_one()).await {
        match accepted {
            Ok(stream) => each(stream),
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Makes a Unix socket that `mode` opens, in place of a stale one. A file that is not a socket is left alone.
pub fn listen_unix(path: &Path, mode: u32) -> Result<UnixListener, NetError> {
    use std::os::unix::fs::PermissionsExt;
    let error = |source| NetError::Io { address: path.display().to_string(), source };
    if is_simulated() {
        return UnixListener::bind(path).map_err(error);
    }
    remove_stale(path).map_err(error)?;
    let listener = UnixListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(error)?;
    Ok(listener)
}

/// Frees the path of a socket that no process serves.
///
/// # Errors
/// A process serves it, or the file there is not a socket.
fn remove_stale(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "another process serves this socket"));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        let reason = "the file there is not a socket; name another path, or remove it yourself";
        return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, reason));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Serves `router` on a Unix socket until `stop`. `admit` turns the peer into what each request carries as an
/// extension, or refuses the connection.
pub async fn serve_unix<E, F>(
    listener: UnixListener,
    router: Router,
    admit: impl Fn(UnixPeer) -> F + Clone + Send + 'static,
    stop: CancellationToken,
) where
    E: Clone + Send + Sync + 'static,
    F: Future<Output = Option<E>> + Send + 'static,
{
    let router = router.layer(from_fn_with_state(stop.clone(), end_streams));
    let (graceful, slots) = (GracefulShutdown::new(), UnixSlots::new());
    accept_each(&SettledListener(&listener, &slots), &stop, |stream| {
        let Ok(peer) = peer_of(&stream) else { return };
        let Some(slot) = slots.take(&peer) else { return };
        let (pid, uid) = (peer.pid, peer.uid);
        let (router, admitted, watcher) = (router.clone(), admit(peer), graceful.watcher());
        tokio::spawn(async move {
            let state = slot.state.clone();
            // In memory of its own: what waits for it beside something else would hold it twice.
            let served = Box::pin(async {
                let extension = admitted.await?;
                connection(UnixAuthority::new(stream), router, extension, &state, |c| watcher.watch(c)).await
            });
            if let Some(Some(rule)) = state.given_away.run_until_cancelled(served).await {
                tracing::info!(pid, uid, rule, "a connection was closed");
            }
            drop(slot);
        });
    })
    .await;
    drain(graceful).await;
}

/// Accepts only while few connections are open beyond the slots.
struct SettledListener<'a>(&'a UnixListener, &'a UnixSlots);

impl Listens for SettledListener<'_> {
    type Stream = UnixStream;

    async fn accept_one(&self) -> std::io::Result<Self::Stream> {
        self.1.settled().await;
        self.0.accept_one().await
    }
}

type Connection<I> = hyper_util::server::conn::auto::Connection<'static, TokioIo<I>, BoxedService, TokioExecutor>;
type BoxedService = hyper_util::service::TowerToHyperService<
    tower::util::BoxCloneSyncService<Request<Incoming>, http::Response<Body>, std::convert::Infallible>,
>;

/// Serves one connection, TLS or not. Returns the rule that the peer broke, if that closed it.
pub(crate) async fn connection<I, E, F>(
    stream: I,
    router: Router,
    extension: E,
    state: &Arc<State>,
    watch: impl FnOnce(Connection<I>) -> F,
) -> Option<String>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
{
    let asks = state.clone();
    let service = router.map_request(move |mut request: Request<Incoming>| {
        asks.asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(extension.clone());
        request.map(Body::new)
    });
    let service = hyper_util::service::TowerToHyperService::new(tower::util::BoxCloneSyncService::new(service));
    let served = watch(builder().serve_connection(TokioIo::new(stream), service).into_owned());
    let mut served = std::pin::pin!(served);
    let ended = match tokio::time::timeout(FIRST_REQUEST, served.as_mut()).await {
        Ok(ended) => ended,
        Err(_) if state.asked.load(Ordering::Relaxed) => served.await,
        Err(_) => Ok(()),
    };
    // A peer that closes its connection is not logged.
    ended.err().and_then(|error| broken_rule(error.as_ref()))
}

/// Bounds against the HTTP/2 floods of CVE-2023-44487 and CVE-2023-45288, and against slow heads.
fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10)).max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(2048)
        .max_header_list_size(16 * 1024)
        .max_pending_accept_reset_streams(32)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

pub(crate) async fn drain(graceful: GracefulShutdown) {
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::info!("open connections were closed after {} s", DRAIN.as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_regular_file_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        assert!(listen_unix(&path, 0o600).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(listen_unix(&link, 0o600).is_err());
        assert!(link.is_symlink());
        let socket = folder.path().join("socket");
        drop(listen_unix(&socket, 0o600).unwrap());
        // A stale one is replaced, and one that is served is not.
        let _served = listen_unix(&socket, 0o600).unwrap();
        assert!(listen_unix(&socket, 0o600).is_err());
    }
}
