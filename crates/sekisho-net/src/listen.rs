use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use sekisho_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::peer_credentials::peer_of;
use crate::{NetError, TlsPeer, TlsSource, UnixPeer};

/// A peer that has not finished its handshake by then is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections open at one listener.
const MAX_CONNECTIONS: usize = 65_536;
/// How long open requests may finish after the wish to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Takes one connection through its handshake, and says who the peer is.
pub async fn accept_tls(
    source: &TlsSource,
    stream: TcpStream,
    client_required: bool,
    alpn: &[&[u8]],
    now: UnixTime,
) -> Result<(TlsStream<TcpStream>, TlsPeer), NetError> {
    let address = stream.peer_addr().map_err(|source| NetError::Io { address: "peer".into(), source })?;
    let failed = |reason: String| NetError::Handshake { address: address.to_string(), reason };
    let _best_effort = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(source.server_config(client_required, alpn)?);
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
    let stream = handshake.map_err(|_| NetError::Timeout(address.to_string()))?.map_err(|e| failed(e.to_string()))?;
    let state = stream.get_ref().1;
    let exporter = state.export_keying_material([0u8; 32], b"EXPORTER-sekisho-evidence", None)?;
    let peer = TlsPeer::of(address, state, exporter, source.current().bundle(), now)?;
    Ok((stream, peer))
}

/// Serves `router` over TLS until `stop`; each request carries an `Arc<TlsPeer>` as an extension.
pub async fn serve_tls(
    listener: TcpListener,
    source: TlsSource,
    router: Router,
    clock: fn() -> UnixTime,
    stop: CancellationToken,
) {
    let (graceful, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (Ok((stream, _)), Ok(permit)) = (accepted, room.clone().try_acquire_owned()) else {
            pause_after_failed_accept().await;
            continue;
        };
        let (source, router, watcher) = (source.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            match accept_tls(&source, stream, false, &[b"h2", b"http/1.1"], clock()).await {
                Ok((stream, peer)) => {
                    tracing::debug!(peer = %peer.address, group = %peer.group, "connection");
                    connection(stream, router, Arc::new(peer), |c| watcher.watch(c)).await;
                }
                Err(error) => tracing::info!(%error, "a connection was refused"),
            }
            drop(permit);
        });
    }
    drain(graceful).await;
}

/// Makes a Unix socket that `mode` opens, in place of a stale one.
pub fn listen_unix(path: &Path, mode: u32) -> Result<UnixListener, NetError> {
    use std::os::unix::fs::PermissionsExt;
    let error = |source| NetError::Io { address: path.display().to_string(), source };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(error(std::io::Error::new(std::io::ErrorKind::AddrInUse, "another process serves this socket")));
    }
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(error(source)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(error)?;
    Ok(listener)
}

/// Serves `router` on a Unix socket until `stop`. `admit` turns the peer into what each request carries as an
/// extension, or refuses the connection.
pub async fn serve_unix<E: Clone + Send + Sync + 'static>(
    listener: UnixListener,
    router: Router,
    admit: impl Fn(UnixPeer) -> Option<E> + Clone + Send + 'static,
    stop: CancellationToken,
) {
    let (graceful, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (Ok((stream, _)), Ok(permit)) = (accepted, room.clone().try_acquire_owned()) else {
            pause_after_failed_accept().await;
            continue;
        };
        let (router, admit, watcher) = (router.clone(), admit.clone(), graceful.watcher());
        tokio::spawn(async move {
            let extension = peer_of(&stream).ok().and_then(admit);
            if let Some(extension) = extension {
                connection(stream, router, extension, |c| watcher.watch(c)).await;
            }
            drop(permit);
        });
    }
    drain(graceful).await;
}

type Connection<I> = hyper_util::server::conn::auto::Connection<'static, TokioIo<I>, BoxedService, TokioExecutor>;
type BoxedService = hyper_util::service::TowerToHyperService<
    tower::util::BoxCloneSyncService<Request<Incoming>, http::Response<Body>, std::convert::Infallible>,
>;

async fn connection<I, E, F>(stream: I, router: Router, extension: E, watch: impl FnOnce(Connection<I>) -> F)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
{
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(extension.clone());
        request.map(Body::new)
    });
    let service = hyper_util::service::TowerToHyperService::new(tower::util::BoxCloneSyncService::new(service));
    // A peer that goes away is no news to anybody.
    let _ended = watch(builder().serve_connection(TokioIo::new(stream), service).into_owned()).await;
}

/// Bounds against the HTTP/2 floods of CVE-2023-44487 and CVE-2023-45288, and against slow heads.
fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10)).max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1024)
        .max_header_list_size(16 * 1024)
        .max_pending_accept_reset_streams(32)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Out of descriptors: without a pause this would spin.
async fn pause_after_failed_accept() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn drain(graceful: GracefulShutdown) {
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::info!("open connections were closed after {} s", DRAIN.as_secs());
    }
}
