//! What is served: trust domains at one TLS listener, and a Unix socket of each for its operators.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use sekisho_net::{Site, Sites, UnixPeer, listen_unix, serve_metrics, serve_tls, serve_unix};
use sekisho_ports::{TcpListener, UnixListener};
use sekisho_runtime::{Stop, Tasks, Traces, now};
use tracing::{Instrument, Span};

use crate::caller::Operator;
use crate::config::{DomainArgs, ServerArgs};
use crate::domain::Domains;
use crate::error::ServerError;
use crate::upkeep::RunningDomain;
use crate::{grpc, readiness, rest};

/// The listeners of one trust domain. Their requests reach nothing of other domains.
struct DomainService {
    site: Site,
    socket: UnixListener,
    path: PathBuf,
    /// Whose operators may use the socket.
    own_uid: u32,
}

/// Serves the domains until `stop`. `ready` is called with the addresses once requests are served.
pub(crate) async fn serve(
    args: &ServerArgs,
    running: &[RunningDomain],
    tasks: &Tasks,
    traces: &Traces,
    stop: &Stop,
    ready: impl FnOnce(SocketAddr, &Path),
) -> Result<(), ServerError> {
    let domains: Domains = running.iter().map(|running| running.domain.clone()).collect();
    let (reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|source| ServerError::Listen { address: args.listen, source })?;
    let address = listener.local_addr().map_err(|source| ServerError::Listen { address: args.listen, source })?;
    if let Some(address) = &args.metrics {
        let measured = domains.clone();
        let text = move || rest::metrics::text_of_all(measured.iter());
        stop.spawn(serve_metrics(address, text, stop.token()).await?);
    }
    let mut services = vec![];
    for (running, settings) in running.iter().zip(args.domains()) {
        let grpc = grpc::routes(&running.domain, health.clone()).map_err(|e| ServerError::Reflection(e.to_string()))?;
        let router = grpc.merge(rest::routes(&running.domain, &domains));
        let router = router.layer(axum::middleware::from_fn_with_state((traces.clone(), running.span.clone()), traced));
        services.push(service(running, settings, router)?);
    }
    let probed = readiness::ProbeSignal::default();
    for (running, settings) in running.iter().zip(args.domains()) {
        let watch = readiness::watch(running.domain.clone(), settings.data.clone(), probed.clone());
        running.span.in_scope(|| running.domain.watch.tasks.required("health", watch));
    }
    tasks.required("health-report", readiness::report(domains.clone(), probed, reporter));
    for (service, domain) in services.iter().zip(domains.iter()) {
        tracing::info!(trust_domain = %domain.identity.name, %address, socket = %service.path.display(), "serving");
    }
    if let Some(first) = services.first() {
        ready(address, &first.path);
    }
    let (mut sites, mut local) = (vec![], vec![]);
    for (DomainService { site, socket, own_uid, .. }, domain) in services.into_iter().zip(domains.iter()) {
        let admit = move |peer: UnixPeer| std::future::ready(Operator::on_socket(&peer, own_uid));
        let served = serve_unix(socket, site.router.clone(), admit, stop.token());
        local.push(domain.watch.tasks.finishing("unix-listener", served));
        sites.push(site);
    }
    let remote = serve_tls(listener, Sites::new(sites, stop.token())?, now);
    let _served = tasks.finishing("tls-listener", remote).await;
    for served in local {
        let _served = served.await;
    }
    Ok(())
}

fn service(running: &RunningDomain, args: &DomainArgs, router: Router) -> Result<DomainService, ServerError> {
    let path = args.socket_path();
    let socket = listen_unix(&path, 0o600)?;
    let own_uid = std::fs::metadata(&args.data).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap_or(0);
    let own_name = running.domain.identity.name.to_string();
    let names = std::iter::once(own_name).chain(args.server_names.iter().cloned()).collect();
    // Counts peers that did not come through the handshake; the counts are leaves.
    let domain = running.domain.clone();
    let rejected = Arc::new(move |peer: SocketAddr, reason: String| {
        domain.limits.refusals.rejected(&peer.to_string(), &reason);
    });
    Ok(DomainService { site: Site { names, source: running.source.clone(), router, rejected }, socket, path, own_uid })
}

/// A span for each request, in the log's span of its trust domain.
async fn traced(State((traces, span)): State<(Traces, Span)>, request: Request, next: Next) -> Response {
    traces.around(request, |request| next.run(request)).instrument(span).await
}
