//! The agent's composition root.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Request as HttpRequest};
use axum::middleware::Next;
use axum::response::Response as HttpResponse;
use sekisho_disk::{DiskError, Spool, lock_folder, private_folder};
use sekisho_identity::Bundle;
use sekisho_net::{TlsMaterial, TlsSource, grpc_only, listen_unix, serve_own_metrics, serve_unix};
use sekisho_proto::envoy::secret::secret_discovery_service_server::SecretDiscoveryServiceServer;
use sekisho_proto::{node, workload};
use sekisho_runtime::metrics::Metrics;
use sekisho_runtime::{Stop, Tasks, Traces, danger, give_back_idle_memory, random_hex};
use sekisho_types::Digest;
use tonic::service::Routes;
use tonic::{Code, Status};

use crate::attest::{self, dial, dialer};
use crate::cache::{Cache, Stored};
use crate::caller::admit;
use crate::config::AgentArgs;
use crate::core::Core;
use crate::delegations::Delegations;
use crate::error::AgentError;
use crate::host::Host;
use crate::journal::Journal;
use crate::limits::Limits;
use crate::server_state::{ServerState, SharedServerState};
use crate::svid_cache::SvidCache;
use crate::upstream::Upstream;
use crate::{inspect_api, measures, records, renew, sds_api, show_state, sidecar_api, sync, workload_api};

/// Runs until `stop`, or until the server bans this agent. `ready` is called once the socket is served.
pub async fn run(args: AgentArgs, stop: Stop, ready: impl FnOnce(&Path)) -> Result<(), AgentError> {
    private_folder(&args.data)?;
    let _lock = lock_folder(&args.data)?;
    open_path_to_socket(&args)?;
    let opening = args.clone();
    let cache = sekisho_runtime::blocking(move || open_cache(&opening)).await;
    let cache = cache.map_err(|_| DiskError::Rule("opening the cache stopped".into()))??;
    let spool = Spool::open(&args.data.join("spool"), args.spool_bytes, &random_hex(16))?;
    // If only the agent's own SVID has expired, the rest of the cache stays in use and the agent attests again.
    let stored = cache.load();
    let restored = stored.is_some();
    let core = Arc::new(open(&args, cache, spool, stored).await?);
    if !restored {
        // A join token is spent by now: without what it gave, a restart would be locked out.
        let saver = core.clone();
        let saved = sekisho_runtime::blocking(move || saver.save()).await;
        saved.map_err(|_| DiskError::Rule("writing the cache failed".into()))??;
    }
    core.cache.log_sealing();
    tracing::info!(agent = %core.upstream.own().id, restored, "agent");

    let tasks = Tasks::new(stop.clone());
    tasks.restarted("idle-memory", give_back_idle_memory);
    tasks.required("cache", renew::run_cache(core.clone()));
    tasks.required("records", records::forward(core.clone()));
    let (shown, shown_by) = (core.clone(), args.clone());
    tasks.restarted("state", move || show_state::run(shown.clone(), shown_by.clone()));
    let counted = core.clone();
    tasks.restarted("refusal-counts", move || run_refusal_count(counted.clone()));
    let measured = measures::text(core.clone());
    stop.spawn(serve_own_metrics(args.metrics.as_ref(), &args.data, measured, stop.token()).await?);
    let routes = routes(&core)?;
    let traces = Traces::to(args.otlp_endpoint.as_deref(), "sekisho-agent")?;
    let router = routes.into_axum_router().layer(axum::middleware::from_fn(require_header));
    let router = router.layer(axum::middleware::from_fn(grpc_only));
    let router = router.layer(axum::middleware::from_fn_with_state(core.clone(), records::record_refused));
    let router = router.layer(axum::middleware::from_fn_with_state(traces.clone(), traced));
    let socket_path = args.socket_path();
    // Any local process may ask; what it gets is decided by what it is.
    let socket = listen_unix(&socket_path, 0o777)?;
    let admitting = core.clone();
    let admit = move |peer| {
        let core = admitting.clone();
        async move { admit(&core.host, peer).await }
    };
    let serving = tasks.finishing("listener", serve_unix(socket, router, admit, stop.token()));
    ready(&socket_path);
    let ended = tokio::select! {
        biased;
        () = stop.wait() => tasks.outcome().map_err(AgentError::from),
        error = sync::follow(core.clone()) => Err(error),
        error = renew::renew_own_svid(core.clone(), args) => Err(error),
    };
    stop.trigger();
    // The listener's task has nothing to report.
    let _joined = serving.await;
    core.journal.count_unrecorded().await;
    let _flushed = sekisho_runtime::blocking(move || traces.flush()).await;
    ended
}

/// Workloads of other users reach the socket through the data folder; its files stay closed to them (0600).
fn open_path_to_socket(args: &AgentArgs) -> Result<(), AgentError> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(if args.socket.is_none() { 0o711 } else { 0o700 });
    std::fs::set_permissions(&args.data, mode)
        .map_err(|source| AgentError::File { path: args.data.display().to_string(), source })
}

/// A TPM may take a second for it.
fn open_cache(args: &AgentArgs) -> Result<Cache, AgentError> {
    Ok(Cache::open(&args.data, args.proofs.node_tpm()?)?)
}

async fn open(args: &AgentArgs, cache: Cache, spool: Spool, stored: Option<Stored>) -> Result<Core, AgentError> {
    let (own, state, held, tls) = match stored {
        Some(stored) => {
            let tls = TlsSource::new(stored.own.tls(stored.server_state.bundle.clone())?);
            (stored.own, stored.server_state, stored.held, tls)
        }
        None => {
            let bundle: Arc<Bundle> = Arc::new(attest::bootstrap_bundle(args).await?);
            let tls = TlsSource::new(TlsMaterial::new(None, bundle.clone())?);
            let own = attest::attest(&dialer(&tls, args)?, args.proofs.proof()?).await?;
            tls.replace(own.tls(bundle.clone())?);
            let state = ServerState {
                revision: 0,
                position: None,
                entries: BTreeMap::new(),
                bundle,
                policy: None,
                revocations: None,
            };
            (own, state, BTreeMap::new(), tls)
        }
    };
    let own_digest: Digest = sekisho_host::own_digest().map_err(AgentError::Executable)?;
    let sidecar_digests: BTreeSet<Digest> = args.sidecar_sha256.iter().copied().chain([own_digest]).collect();
    if args.danger_inheritable_sockets {
        danger("danger_inheritable_sockets", "connections that survive exec are served");
    }
    // A channel of its own from here on: the one that attested had no client certificate.
    let server = dial(&tls, args)?;
    Ok(Core {
        upstream: Upstream::new(args.server.clone(), tls, own, state.bundle.clone(), server),
        server_state: SharedServerState::new(state),
        svids: SvidCache::new(held),
        cache,
        host: Host::new(args.danger_inheritable_sockets),
        limits: Limits::new(),
        journal: Journal::new(spool),
        delegations: Delegations::to(sidecar_digests),
        metrics: Metrics::default(),
    })
}

async fn run_refusal_count(core: Arc<Core>) {
    core.journal.run_refusal_count().await;
}

fn routes(core: &Arc<Core>) -> Result<Routes, AgentError> {
    let workload =
        workload::spiffe_workload_api_server::SpiffeWorkloadApiServer::new(workload_api::Service(core.clone()));
    let sidecar = node::sidecar_server::SidecarServer::new(sidecar_api::Service(core.clone()));
    let inspect = node::inspect_server::InspectServer::new(inspect_api::Service(core.clone()));
    let secrets = SecretDiscoveryServiceServer::new(sds_api::Service(core.clone()));
    let (_, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(sekisho_proto::FILE_DESCRIPTORS)
        .build_v1()
        .map_err(|e| AgentError::Reflection(e.to_string()))?;
    let mut routes = Routes::builder();
    routes
        .add_service(workload.max_decoding_message_size(64 * 1024))
        .add_service(secrets.max_decoding_message_size(64 * 1024))
        .add_service(sidecar.max_decoding_message_size(4 * 1024 * 1024))
        .add_service(inspect.max_decoding_message_size(64 * 1024))
        .add_service(health)
        .add_service(reflection);
    Ok(routes.routes())
}

/// Every call carries `workload.spiffe.io: true` (SPIFFE_Workload_Endpoint.md §3); a request that a user's browser or
/// proxy was talked into does not.
async fn require_header(request: HttpRequest<axum::body::Body>, next: Next) -> HttpResponse {
    if has_header(request.headers()) {
        return next.run(request).await;
    }
    let status = Status::new(Code::InvalidArgument, "the metadata `workload.spiffe.io: true` is missing");
    status.into_http()
}

fn has_header(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all("workload.spiffe.io").iter();
    values.next().is_some_and(|value| value == "true") && values.next().is_none()
}

/// A span for each request.
async fn traced(State(traces): State<Traces>, request: HttpRequest<axum::body::Body>, next: Next) -> HttpResponse {
    traces.around(request, |request| next.run(request)).await
}
