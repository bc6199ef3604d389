//! The sidecar's composition root.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sekisho_disk::{Spool, lock_folder, private_folder};
use sekisho_host::Ownership;
use sekisho_net::NetError;
use sekisho_runtime::{Repeated, Stop, Tasks, Traces, random_hex};
use sekisho_sdk::{AgentChannel, IdentitySource, RevocationKeeper, Workload, agent_channel, follow_revocations};
use sekisho_types::SpiffeId;
use tokio::net::TcpListener;

use crate::config::{Local, Protocol, ProxyArgs};
use crate::decisions::{self, Decider};
use crate::error::ProxyError;
use crate::outbound::{LONGEST_PAUSE, Listener, Outbound};
use crate::policy::{self, PolicyKeeper};
use crate::renewal::Renewals;
use crate::revocations;
use crate::serving::Inbound;
use crate::shared_dial::SharedDial;
use crate::upstream::Upstream;
use crate::workload;

/// Runs until `stop`, or until the workload ends. `ready` is called once the identity is there and listeners are open, with the
/// identity and the address for peers. Returns the workload's exit code, if it was started here.
pub async fn run(
    args: ProxyArgs,
    stop: Stop,
    ready: impl FnOnce(&SpiffeId, Option<SocketAddr>),
) -> Result<Option<u8>, ProxyError> {
    check(&args)?;
    private_folder(&args.data)?;
    let _lock = lock_folder(&args.data)?;
    // Before the workload starts: its first call finds them.
    let bound = Bound::to(&args).await?;
    let mut child = workload::start(&args).await?;
    let Some(workload) = workload::open(child.as_mut(), args.workload_pid)? else {
        return Ok(child.as_mut().and_then(workload::ended));
    };
    let workload = Arc::new(workload);
    let owned = Ownership::of(workload.clone());

    let traces = Traces::to(args.otlp_endpoint.as_deref(), "sekisho-proxy")?;
    let spoken_for =
        Workload { pid: workload.pid(), start_time: workload.start_time(), spiffe_id: args.spiffe_id.clone() };
    let agent_socket = sekisho_runtime::agent_socket(args.agent_socket.as_deref());
    let identity = IdentitySource::delegated(&agent_socket, &args.trust_domain, spoken_for)?;
    let tasks = Tasks::new(stop.clone());
    let followed = identity.clone();
    tasks.required("identity", async move { followed.stopped().await });
    let (decider, revocations) = follow_agent(&args, agent_channel(&agent_socket), &identity, &tasks)?;

    let shared = Listeners {
        identity: &identity,
        workload: owned,
        decider: &decider,
        revocations,
        traces: &traces,
        stop: &stop,
        tasks: &tasks,
    };
    let inbound = shared.open(&args, bound);
    tokio::select! {
        held = identity.ready() => ready(&held.spiffe_id, inbound),
        () = stop.wait() => {}
        () = workload.stopped() => {}
    }
    tokio::select! {
        () = stop.wait() => {}
        () = workload.stopped() => tracing::info!(pid = workload.pid(), "the workload has stopped; its sidecar stops"),
    }
    stop.trigger();
    stop.drained(12).await;
    decider.record_strangers();
    decider.log_last_counts();
    let _flushed = sekisho_runtime::blocking(move || traces.flush()).await;
    let code = match child {
        Some(mut child) => workload::end(&mut child).await,
        None => None,
    };
    tasks.outcome()?;
    Ok(code)
}

/// Listeners that are open and not yet served: who dials them waits.
struct Bound {
    inbound: Option<(TcpListener, SocketAddr)>,
    /// In the order of their settings.
    outbound: Vec<Listener>,
}

impl Bound {
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
    decider: &'a Arc<Decider>,
    revocations: Arc<RevocationKeeper>,
    traces: &'a Traces,
    stop: &'a Stop,
    tasks: &'a Tasks,
}

impl Listeners<'_> {
    /// Serves what is bound. Returns the address for peers, if there is one.
    fn open(&self, args: &ProxyArgs, bound: Bound) -> Option<SocketAddr> {
        let protocol = args.protocol.unwrap_or(Protocol::Http1);
        let body_idle = Duration::from_secs(args.body_idle_seconds.into());
        let mut address = None;
        if let (Some((listener, at)), Some(upstream)) = (bound.inbound, args.upstream.clone()) {
            address = Some(at);
            warn_of_direct_access(&upstream);
            let connections = args.upstream_connections.unwrap_or(if protocol == Protocol::Http1 { 512 } else { 4096 });
            let connections = usize::try_from(connections).unwrap_or(usize::MAX);
            let inbound = Inbound {
                identity: self.identity.clone(),
                decider: self.decider.clone(),
                revocations: self.revocations.clone(),
                upstream: Upstream::new(
                    upstream,
                    self.workload.clone(),
                    protocol,
                    self.decider.clone(),
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
            let outbound = Outbound {
                spec,
                identity: self.identity.clone(),
                workload: self.workload.clone(),
                protocol,
                decider: self.decider.clone(),
                revocations: self.revocations.clone(),
                traces: self.traces.clone(),
                stop: self.stop.clone(),
                body_idle,
                connection: SharedDial::new(LONGEST_PAUSE),
                undialled: Repeated::new(),
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

/// What decides, and what is revoked, kept up to date by the agent.
fn follow_agent(
    args: &ProxyArgs,
    agent: AgentChannel,
    identity: &IdentitySource,
    tasks: &Tasks,
) -> Result<(Arc<Decider>, Arc<RevocationKeeper>), ProxyError> {
    let revocations = Arc::new(revocations::open(args.data.join("revocations")));
    tasks.required("revocations", follow_revocations(revocations.clone(), agent.clone()));
    let keeper = Arc::new(PolicyKeeper::open(args.data.join("policy.json")));
    let spool = Spool::open(&args.data.join("spool"), args.spool_bytes, &random_hex(16))?;
    tasks.required("records", decisions::forward(spool.clone(), agent.clone()));
    tasks.required("policy", policy::follow(keeper.clone(), agent, identity.clone()));
    let decider = Arc::new(Decider::new(keeper, spool, identity.held.clone()));
    let (counted, logs) = (decider.clone(), decider.clone());
    tasks.restarted("stranger-counts", move || decisions::keep_strangers(counted.clone()));
    tasks.restarted("log-counts", move || decisions::log_counts(logs.clone()));
    Ok((decider, revocations))
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

/// Law L15: what this version cannot close is said.
fn warn_of_direct_access(upstream: &Local) {
    match upstream {
        Local::Tcp(_) => {
            tracing::warn!(%upstream, "not enforced: other processes of this machine can reach the service past its sidecar")
        }
        Local::Unix(_) => {
            tracing::info!(%upstream, "not enforced against processes of the service's own user; others are kept out by the socket's folder, if it is 0700")
        }
    }
}
