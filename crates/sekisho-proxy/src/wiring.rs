//! The sidecar's composition root.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sekisho_disk::{lock_folder, private_folder};
use sekisho_host::Ownership;
use sekisho_net::{NetError, serve_own_metrics};
use sekisho_runtime::{Stop, Tasks, Traces, give_back_idle_memory, keep_short_heaps};
use sekisho_sdk::{IdentitySource, Workload};
use sekisho_types::SpiffeId;
use tokio::net::TcpListener;

use crate::config::{Local, Protocol, ProxyArgs};
use crate::deciding::Deciding;
use crate::dialling::PeerDialer;
use crate::error::ProxyError;
use crate::measures;
use crate::outbound::{LONGEST_PAUSE, Listener, Outbound};
use crate::renewal::Renewals;
use crate::serving::Inbound;
use crate::shared_dial::Failures;
use crate::to_peer::ToPeer;
use crate::upstream::Upstream;
use crate::workload;

/// Runs until `stop`, or until the workload ends. `ready` is called once the identity is there and listeners are open,
/// with the identity and the address for peers. Returns the workload's exit code, if it was started here.
pub async fn run(
    args: ProxyArgs,
    stop: Stop,
    ready: impl FnOnce(&SpiffeId, Option<SocketAddr>),
) -> Result<Option<u8>, ProxyError> {
    keep_short_heaps();
    check(&args)?;
    private_folder(&args.data)?;
    let _lock = lock_folder(&args.data)?;
    // Before the workload starts: its first call finds them.
    let bound = BoundListeners::to(&args).await?;
    let mut child = workload::start(&args).await?;
    let Some(workload) = workload::open(child.as_mut(), args.workload_pid)? else {
        return Ok(child.as_mut().and_then(workload::exit_code));
    };
    let workload = Arc::new(workload);
    let owned = Ownership::of(workload.clone());

    let traces = Traces::to(args.otlp_endpoint.as_deref(), "sekisho-proxy")?;
    let spoken_for =
        Workload { pid: workload.pid(), start_time: workload.start_time(), spiffe_id: args.spiffe_id.clone() };
    let agent_socket = sekisho_runtime::agent_socket(args.agent_socket.as_deref());
    let identity = IdentitySource::delegated(&agent_socket, &args.trust_domain, spoken_for)?;
    let tasks = Tasks::new(stop.clone());
    tasks.restarted("idle-memory", give_back_idle_memory);
    let followed = identity.clone();
    tasks.required("identity", async move { followed.stopped().await });
    let deciding = Deciding::start(&args.data, args.spool_bytes, &agent_socket, &identity, &tasks)?;
    let measured = measures::text(deciding.clone(), identity.clone());
    stop.spawn(serve_own_metrics(args.metrics.as_ref(), &args.data, measured, stop.token()).await?);

    let shared = Listeners {
        identity: &identity,
        workload: owned,
        deciding: &deciding,
        traces: &traces,
        stop: &stop,
        tasks: &tasks,
    };
    let inbound = shared.open(&args, bound);
    tokio::select! {
        biased;
        () = stop.wait() => {}
        () = workload.stopped() => {}
        held = identity.ready() => ready(&held.spiffe_id, inbound),
    }
    tokio::select! {
        biased;
        () = stop.wait() => {}
        () = workload.stopped() => tracing::info!(pid = workload.pid(), "the workload has stopped; its sidecar stops"),
    }
    stop.trigger();
    stop.drained(12).await;
    let _flushed = sekisho_runtime::blocking(move || traces.flush()).await;
    let code = match child {
        Some(mut child) => workload::end(&mut child).await,
        None => None,
    };
    deciding.decider.finish().await;
    tasks.outcome()?;
    Ok(code)
}

/// Listeners that are open and not yet served: who dials them waits.
struct BoundListeners {
    inbound: Option<(TcpListener, SocketAddr)>,
    /// In the order of their settings.
    outbound: Vec<Listener>,
}

impl BoundListeners {
    async fn to(args: &ProxyArgs) -> Result<Self, ProxyError> {
        let mut bound = Self { inbound: None, outbound: vec![] };
        if let Some(address) = args.inbound {
            let failed = |source| NetError::Io { address: address.to_string(), source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let at = listener.local_addr().map_err(failed)?;
            bound.inbound = Some((listener, at));
        }
        for spec in &args.outbound {
            bound.outbound.push(Listener::bind(&spec.listen).await?);
        }
        Ok(bound)
    }
}

/// What the listeners of one sidecar share.
struct Listeners<'a> {
    identity: &'a IdentitySource,
    workload: Arc<Ownership>,
    deciding: &'a Deciding,
    traces: &'a Traces,
    stop: &'a Stop,
    tasks: &'a Tasks,
}

impl Listeners<'_> {
    /// Serves what is bound. Returns the address for peers, if there is one.
    fn open(&self, args: &ProxyArgs, bound: BoundListeners) -> Option<SocketAddr> {
        let protocol = args.protocol.unwrap_or(Protocol::Http1);
        let Deciding { decider, revocations, .. } = self.deciding;
        let body_idle = Duration::from_secs(args.body_idle_seconds.into());
        let mut address = None;
        if let (Some((listener, at)), Some(upstream)) = (bound.inbound, args.upstream.clone()) {
            address = Some(at);
            warn_of_direct_access(&upstream);
            let connections = args.upstream_connections.unwrap_or(if protocol == Protocol::Http1 { 512 } else { 4096 });
            let connections = usize::try_from(connections).unwrap_or(usize::MAX);
            let inbound = Inbound {
                identity: self.identity.clone(),
                decider: decider.clone(),
                revocations: revocations.clone(),
                upstream: Upstream::new(
                    upstream,
                    self.workload.clone(),
                    protocol,
                    decider.clone(),
                    connections,
                    body_idle,
                ),
                protocol,
                traces: self.traces.clone(),
                stop: self.stop.clone(),
                body_idle,
                renewals: Renewals::default(),
            };
            self.serve("inbound", inbound.serve(listener));
        }
        for (listener, spec) in bound.outbound.into_iter().zip(args.outbound.clone()) {
            let dialer = PeerDialer {
                address: spec.peer,
                expected: spec.expected,
                identity: self.identity.clone(),
                decider: decider.clone(),
                revocations: revocations.clone(),
            };
            let outbound = Outbound {
                listen: spec.listen,
                workload: self.workload.clone(),
                protocol,
                traces: self.traces.clone(),
                stop: self.stop.clone(),
                body_idle,
                peer: ToPeer::new(dialer, LONGEST_PAUSE),
                failures: Failures::new(LONGEST_PAUSE),
                had_identity: AtomicBool::new(false),
            };
            self.serve("outbound", outbound.serve(listener));
        }
        address
    }

    /// Runs a listener that has to serve until `stop`; the program waits for its connections then.
    fn serve(&self, name: &'static str, listener: impl Future<Output = ()> + Send + 'static) {
        let served = self.tasks.finishing(name, listener);
        self.stop.spawn(async move { drop(served.await) });
    }
}

fn check(args: &ProxyArgs) -> Result<(), ProxyError> {
    if args.inbound.is_none() && args.outbound.is_empty() {
        return Err(ProxyError::NothingToDo);
    }
    if args.inbound.is_some() != args.upstream.is_some() {
        return Err(ProxyError::Value(
            "`inbound` and `upstream` go together: one says where peers come, the other where the service is".into(),
        ));
    }
    Ok(())
}

/// Law L15: what this version cannot enforce is reported.
fn warn_of_direct_access(upstream: &Local) {
    match upstream {
        Local::Tcp(_) => {
            tracing::warn!(%upstream, "not enforced: other processes of this machine can bypass the sidecar")
        }
        Local::Unix(_) => {
            tracing::info!(%upstream, "not enforced against processes of the service's own user; others are kept out \
                by the socket's folder, if it is 0700")
        }
    }
}
