//! What is served: one TLS listener, and a Unix socket for operators.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use sekisho_net::{UnixPeer, listen_unix, serve_tls, serve_unix};
use sekisho_ports::TcpListener;
use sekisho_runtime::{Stop, Tasks, Traces, now};

use crate::caller::Operator;
use crate::config::ServerArgs;
use crate::domain::Shared;
use crate::error::ServerError;
use crate::upkeep::Kept;
use crate::{grpc, readiness, rest};

/// Serves the domain until `stop`. `ready` is called with the addresses once requests are served.
pub(crate) async fn serve(
    args: &ServerArgs,
    kept: &Kept,
    tasks: &Tasks,
    traces: &Traces,
    stop: &Stop,
    ready: impl FnOnce(SocketAddr, &Path),
) -> Result<(), ServerError> {
    let (domain, own) = (&kept.domain, &args.own);
    let (reporter, health) = tonic_health::server::health_reporter();
    let grpc = grpc::routes(domain, health).map_err(|e| ServerError::Reflection(e.to_string()))?;
    let router: Router = grpc.merge(rest::routes(domain));
    let router = router.layer(axum::middleware::from_fn_with_state(traces.clone(), traced));
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|source| ServerError::Listen { address: args.listen, source })?;
    let address = listener.local_addr().map_err(|source| ServerError::Listen { address: args.listen, source })?;
    let socket_path = own.socket_path();
    let socket = listen_unix(&socket_path, 0o600)?;
    let own_uid = std::fs::metadata(&own.data).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap_or(0);
    let admit = move |peer: UnixPeer| std::future::ready(Operator::on_socket(&peer, own_uid));
    tasks.required("health", readiness::watch(domain.clone(), own.data.clone(), reporter));
    tracing::info!(trust_domain = %domain.identity.name, %address, socket = %socket_path.display(), "serving");
    ready(address, &socket_path);
    let turned_away = turned_away(domain.clone());
    let remote = serve_tls(listener, kept.source.clone(), router.clone(), now, turned_away, stop.token());
    let remote = tasks.finishing("tls-listener", remote);
    let local = tasks.finishing("unix-listener", serve_unix(socket, router, admit, stop.token()));
    let _served = tokio::join!(remote, local);
    Ok(())
}

/// Counts peers that did not come through the handshake; the counts are leaves.
fn turned_away(domain: Shared) -> impl Fn(SocketAddr, String) + Clone + Send + 'static {
    move |peer: SocketAddr, reason: String| domain.limits.refusals.turned_away(&peer.to_string(), &reason)
}

/// A span for each request.
async fn traced(State(traces): State<Traces>, request: Request, next: Next) -> Response {
    traces.around(request, |request| next.run(request)).await
}
