//! The server's composition root: what is made, in which order, and what stops it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request as HttpRequest, State};
use axum::middleware::Next;
use axum::response::Response as HttpResponse;
use sekisho_disk::{DiskError, Ledger, Segments, private_folder, write_atomic};
use sekisho_events::{ClockAhead, RotationFailed};
use sekisho_identity::{Bundle, Request};
use sekisho_keys::{KeyError, MemoryKey};
use sekisho_net::{Identity, NetError, Rates, TlsMaterial, TlsSource, listen_unix, serve_tls, serve_unix};
use sekisho_ports::TcpListener;
use sekisho_runtime::{Stop, TaskFailure, Tasks, Traces, TracesError, now};
use sekisho_store::{Delta, LogMark, Marks, SqliteStore, Store, StoreError};
use sekisho_types::{SignatureAlgorithm, Signer, UnixTime};
use tokio::sync::{Notify, broadcast};

use crate::authorities::{Authorities, AuthorityError};
use crate::backup::COPY_MARK;
use crate::behind::Behind;
use crate::belief::Belief;
use crate::bound::{self, LaterState};
use crate::budget::Budgets;
use crate::caller::Operator;
use crate::config::ServerArgs;
use crate::counters::Counters;
use crate::departure::Departures;
use crate::domain::{Domain, Identity as OwnIdentity, Keep, Limits, Log, OwnWatch, Settings, Shared, Streams};
use crate::health::Health;
use crate::journal::{JournalError, drain_outbox};
use crate::lineage::{Earlier, LineageError, Opened};
use crate::refusal_counts::Refusals;
use crate::view::View;
use crate::witness::{self, Witnesses};
use crate::{
    grpc, issue, journal, lineage, log_search, policy_folder, readiness, refusals, rest, retention, rotation, scrub,
};

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the server's own SVID: {0}")]
    OwnSvid(String),
    #[error("the ledger: {0}")]
    Journal(String),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("--{flag} {path}: {reason}")]
    Anchors { flag: &'static str, path: String, reason: String },
    #[error("--witness-policy {path}: {reason}")]
    WitnessPolicy { path: String, reason: String },
    #[error(transparent)]
    Lineage(LineageError),
    #[error(
        "{0} is a copy that `sekisho backup` made; bring it back by \
         `sekisho restore --trust-domain <its trust domain> --from {0} --data <folder>`"
    )]
    IsACopy(String),
    #[error("{0}: `sekisho restore --trust-domain <its trust domain> --from <copy> --data {1}`")]
    OlderLog(String, String),
    #[error(
        "the database here is older than the log, or new: {0}. Put the newer `state.db` back, or restore a backup, which keeps this \
         log: `sekisho restore --trust-domain <its trust domain> --from <copy> --data {1}`"
    )]
    OlderState(String, String),
    #[error(transparent)]
    Traces(#[from] TracesError),
    #[error(transparent)]
    Task(#[from] TaskFailure),
    #[error("--policy-folder {0}: it is not a folder; make it, or leave the option out and use `sekisho policy apply`")]
    PolicyFolder(String),
    #[error("gRPC reflection: {0}")]
    Reflection(String),
}

impl From<LineageError> for ServerError {
    fn from(error: LineageError) -> Self {
        match error {
            LineageError::Disk(error) => Self::Disk(error),
            other => Self::Lineage(other),
        }
    }
}

/// How often the database is told how far the log has come, at least.
const MARK_EVERY: Duration = Duration::from_secs(30);

/// Runs until `stop`. `ready` is called with the addresses once requests are served.
pub async fn run(args: ServerArgs, stop: Stop, ready: impl FnOnce(SocketAddr, &Path)) -> Result<(), ServerError> {
    if let Some(folder) = args.policy_folder.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(ServerError::PolicyFolder(folder.display().to_string()));
    }
    let tasks = Tasks::new(stop.clone());
    let (domain, continues, later) = open(&args, tasks.clone()).await?;
    if lineage::log_earlier(&domain, continues).await.map_err(|e| ServerError::Journal(e.to_string()))? {
        // What it is from now on is what it is held against.
        journal::mark(&domain).await.map_err(|e| ServerError::Journal(e.to_string()))?;
    }
    if let Some(later) = later {
        bound::go_on_from_older(&domain, later).await.map_err(|e| ServerError::Journal(e.to_string()))?;
    }
    report_clock(&domain).await?;
    rotation::rotate(&domain, now()).await?;

    let domain: Shared = Arc::new(domain);
    domain.view.fill(domain.store.snapshot(&domain.identity.name).await?);
    let viewed = Arc::downgrade(&domain);
    domain.store.observe(Box::new(move |delta| {
        if let Some(domain) = viewed.upgrade().filter(|domain| domain.identity.name == delta.trust_domain) {
            committed(&domain, delta);
        }
    }));
    let outbox = tasks.finishing("outbox", keep_outbox(domain.clone(), stop.clone()));
    let source = TlsSource::new(own_material(&domain).await?.0);
    tasks.required("own-svid", keep_own_svid(domain.clone(), source.clone()));
    tasks.required("authorities", keep_authorities(domain.clone()));
    start_housekeeping(&domain, &args, &stop);

    let (reporter, health) = tonic_health::server::health_reporter();
    let grpc = grpc::routes(&domain, health).map_err(|e| ServerError::Reflection(e.to_string()))?;
    let traces = Traces::to(args.otlp_endpoint.as_deref(), "sekisho-server")?;
    let router = grpc.merge(rest::routes(&domain));
    let router = router.layer(axum::middleware::from_fn_with_state(traces.clone(), traced));
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|source| ServerError::Listen { address: args.listen, source })?;
    let address = listener.local_addr().map_err(|source| ServerError::Listen { address: args.listen, source })?;
    let socket_path = args.socket_path();
    let socket = listen_unix(&socket_path, 0o600)?;
    let own_uid = std::fs::metadata(&args.data).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap_or(0);
    let admit = move |peer: sekisho_net::UnixPeer| std::future::ready(Operator::on_socket(&peer, own_uid));
    tasks.required("health", readiness::watch(domain.clone(), args.data.clone(), reporter));
    tracing::info!(trust_domain = %domain.identity.name, %address, socket = %socket_path.display(), "serving");
    ready(address, &socket_path);
    let turned_away = turned_away(domain.clone());
    let remote = serve_tls(listener, source, router.clone(), now, turned_away, stop.token());
    let remote = tasks.finishing("tls-listener", remote);
    let local = tasks.finishing("unix-listener", serve_unix(socket, router, admit, stop.token()));
    let _served = tokio::join!(remote, local);
    refusals::log_count(&domain).await;
    // What the last requests left in the outbox.
    stop.trigger();
    let _ended = outbox.await;
    let _flushed = sekisho_runtime::blocking(move || traces.flush()).await;
    Ok(tasks.outcome()?)
}

/// What can begin again at any time: each round looks at the state as it is.
fn start_housekeeping(domain: &Shared, args: &ServerArgs, stop: &Stop) {
    let tasks = &domain.watch.tasks;
    let of = domain.clone();
    tasks.restarted("refusal-counts", move || refusals::keep_count(of.clone()));
    let of = domain.clone();
    tasks.restarted("retention", move || retention::keep(of.clone()));
    let rate = args.scrub_bundles_per_second;
    if rate > 0 {
        let (found, ledger) = (domain.watch.scrub.clone(), domain.log.ledger.clone());
        tasks.restarted("scrub", move || scrub::keep(found.clone(), ledger.clone(), rate));
    }
    if let Some(witnesses) = domain.log.witnesses.clone() {
        let (ledger, stop) = (domain.log.ledger.clone(), stop.clone());
        tasks.restarted("witnesses", move || witness::keep(witnesses.clone(), ledger.clone(), stop.clone()));
    }
    if let Some(folder) = args.policy_folder.clone() {
        let of = domain.clone();
        tasks.restarted("policy-folder", move || {
            let (domain, folder) = (of.clone(), folder.clone());
            async move {
                if let Err(error) = policy_folder::follow(domain, folder).await {
                    tracing::error!(%error, "the policy folder is not followed");
                }
            }
        });
    }
}

/// Counts peers that did not come through the handshake; the counts are leaves.
fn turned_away(domain: Shared) -> impl Fn(SocketAddr, String) + Clone + Send + 'static {
    move |peer: SocketAddr, reason: String| domain.limits.refusals.turned_away(&peer.to_string(), &reason)
}

/// The log that fits the database, and that which it goes on from if it does so under a new origin.
fn open_log(args: &ServerArgs, mark: Option<&LogMark>) -> Result<Opened, ServerError> {
    let name = &args.trust_domain;
    let opened = lineage::open(&args.data, name)?;
    let Err(reason) = journal::check_mark(&opened.ledger, mark) else { return Ok(opened) };
    if !args.danger_accept_older_log {
        return Err(ServerError::OlderLog(reason, args.data.display().to_string()));
    }
    sekisho_runtime::danger("danger_accept_older_log", &format!("an older log is accepted: {reason}"));
    drop(opened);
    // Law L16: what weakens safety stands in the log. Entries that are missing may have been published.
    lineage::begin_anew(&args.data, name, lineage::OLDER_LOG_ACCEPTED, &reason)?;
    Ok(lineage::open_when_closed(&args.data, name)?)
}

/// The domain, what its log was before if it has just begun anew, and of which later state its log speaks.
async fn open(args: &ServerArgs, tasks: Tasks) -> Result<(Domain, Option<Earlier>, Option<LaterState>), ServerError> {
    if args.data.join(COPY_MARK).exists() {
        return Err(ServerError::IsACopy(args.data.display().to_string()));
    }
    let keys = args.data.join("keys");
    private_folder(&keys)?;
    lineage::check_trust_domain(&args.data, &args.trust_domain)?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&args.data.join("state.db"))?);
    let name = args.trust_domain.clone();
    let (revision, records) = store.authorities(&name).await?;
    let Marks { log: mark, retention: believed } = store.marks(&name).await?;
    let Opened { ledger, recovered, origin, continues } = open_log(args, mark.as_ref())?;
    let later = bound::later_state(&ledger, mark.as_ref(), revision);
    if let Some(later) = later.filter(|_| !args.danger_accept_older_state) {
        return Err(ServerError::OlderState(later.to_string(), args.data.display().to_string()));
    }
    tracing::info!(size = recovered.size, replayed = recovered.replayed, origin, "ledger");
    write_atomic(&args.data.join("trust-policy"), format!("log {}\nquorum none\n", ledger.verifier()).as_bytes())?;
    let decisions = Segments::open(&args.data.join("decisions"), args.keep_decisions_bytes)?;
    let witnesses = witnesses(args, &ledger)?;
    let newest = log_search::newest_time(&ledger);
    let believed = Belief::new(believed.or(newest.map(UnixTime::from_millis)), now());
    let authorities = Authorities::load(&name, &keys, records)?;
    let bundle = authorities.bundle(revision.0)?;
    let server_id = name.workload("/spire/server").map_err(|e| ServerError::OwnSvid(e.to_string()))?;
    let domain = Domain {
        identity: OwnIdentity { name, server_id, authorities },
        settings: Settings {
            publish_log: args.publish_log,
            ca_ttl_seconds: args.ca_ttl_seconds,
            x509_ttl_seconds: args.x509_ttl_seconds,
            jwt_ttl_seconds: args.jwt_ttl_seconds,
            agent_ttl_seconds: args.agent_ttl_seconds,
            keep: Keep {
                decisions_days: args.keep_decisions_days,
                ended_days: args.keep_ended_days,
                openings_days: args.keep_openings_days,
            },
            anchors: args.anchors.read(unread)?,
        },
        store,
        view: View::new(bundle),
        log: Log {
            ledger,
            decisions,
            witnesses,
            recording: std::array::from_fn(|_| Arc::default()),
            draining: tokio::sync::Mutex::default(),
            outbox_filled: Notify::new(),
            log_time: AtomicI64::new(newest.unwrap_or(0)),
        },
        limits: Limits { attestations: Rates::new(1.0, 20.0), refusals: Refusals::new(), budgets: Budgets::new() },
        streams: Streams {
            changes: broadcast::channel(64).0,
            departures: Departures::new(),
            behind: Behind::new(revision),
            policy_in_force: Mutex::new(BTreeMap::new()),
            revocations_applied: Mutex::default(),
        },
        watch: OwnWatch {
            tasks,
            health: Health::new(),
            counters: Counters::default(),
            scrub: Arc::default(),
            belief: believed,
            policy_folder_refused: Mutex::default(),
        },
    };
    Ok((domain, continues, later))
}

fn unread(flag: &'static str, path: &Path, reason: String) -> ServerError {
    ServerError::Anchors { flag, path: path.display().to_string(), reason }
}

/// The witnesses that are configured, if any are.
fn witnesses(args: &ServerArgs, ledger: &Ledger) -> Result<Option<Arc<Witnesses>>, ServerError> {
    let Some(path) = &args.witness_policy else { return Ok(None) };
    let error = |reason: String| ServerError::WitnessPolicy { path: path.display().to_string(), reason };
    let policy = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
    // A machine without the file can still ask witnesses of its own.
    let authorities = std::fs::read(&args.witness_ca).unwrap_or_default();
    Witnesses::open(&policy, &authorities, &args.data, ledger).map(|opened| Some(Arc::new(opened))).map_err(error)
}

/// Brings the view to a committed batch, on the store's own thread, before the batch's caller goes on.
fn committed(domain: &Shared, batch: &Delta) {
    if !batch.changes.is_empty() || batch.revision.is_some() {
        domain.view.apply(batch.revision, &batch.changes);
    }
    if !batch.changes.is_empty() {
        let _nobody_listens = domain.streams.changes.send(());
    }
    if batch.has_leaf {
        domain.log.outbox_filled.notify_one();
    }
}

/// Moves leaves from the outbox into the ledger as they come, and remembers from time to time how far the ledger is.
async fn keep_outbox(domain: Shared, stop: Stop) {
    let mut marked = 0;
    loop {
        let stopping = tokio::select! {
            () = domain.log.outbox_filled.notified() => false,
            () = tokio::time::sleep(MARK_EVERY) => false,
            () = stop.wait() => true,
        };
        if let Err(error) = drain_outbox(&domain).await {
            tracing::error!(%error, "leaves wait in the outbox; they are logged when the ledger takes them");
            tokio::time::sleep(Duration::from_secs(1)).await;
            domain.log.outbox_filled.notify_one();
        }
        let size = domain.log.ledger.size();
        if size != marked {
            match journal::mark(&domain).await {
                Ok(()) => marked = size,
                Err(error) => tracing::error!(%error, "how far the log has come was not remembered"),
            }
        }
        if stopping {
            return;
        }
    }
}

/// The server's own SVID, through the same gate as every other, and when it ends.
async fn own_material(domain: &Domain) -> Result<(TlsMaterial, UnixTime), ServerError> {
    let key = MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256)?;
    let request = Request::ServerSvid { public_key: key.public_key_der() };
    let issued = issue::x509(domain, &issue::Asker::server(domain), request).await;
    let issued = issued.map_err(|e| ServerError::OwnSvid(e.to_string()))?;
    // The authority's certificate goes along for agents that were given its fingerprint only.
    let chain = std::iter::once(issued.certificate).chain(domain.identity.authorities.active_certificate()).collect();
    let identity = Identity { chain, key: key.pkcs8().clone() };
    let bundle: Arc<Bundle> = domain.view.read(|state| state.bundle.clone());
    Ok((TlsMaterial::new(Some(&identity), bundle)?, issued.not_after))
}

/// Renews the server's SVID at half life, and takes each new bundle into its listener.
async fn keep_own_svid(domain: Shared, source: TlsSource) {
    let mut changes = domain.streams.changes.subscribe();
    let mut sequence = domain.view.read(|state| state.bundle.sequence);
    let mut renew = UnixTime::default();
    loop {
        let bundle_sequence = domain.view.read(|state| state.bundle.sequence);
        if now() >= renew || bundle_sequence != sequence {
            match own_material(&domain).await {
                Ok((material, ends)) => {
                    source.replace(material);
                    sequence = bundle_sequence;
                    renew = sekisho_identity::renew_at(now(), ends);
                }
                Err(error) => {
                    tracing::error!(%error, "the server's own SVID was not renewed; trying again in 10 s");
                    renew = now().plus_seconds(10);
                }
            }
        }
        // Not longer at a time: a clock that was set has to be noticed.
        let wait = u64::try_from(renew.seconds_since(now())).unwrap_or(0).clamp(1, 10);
        let wait = Duration::from_secs(wait);
        // Whatever woke us, the next round looks at everything.
        let _woken = tokio::time::timeout(wait, changes.recv()).await;
    }
}

/// How long a rotation that failed is left alone, at first and at most.
const ROTATION_PAUSE: std::ops::RangeInclusive<i64> = 30..=3600;

async fn keep_authorities(domain: Shared) {
    let mut pause = *ROTATION_PAUSE.start();
    loop {
        let (next, longest) = match rotation::rotate(&domain, now()).await {
            Ok(until) => {
                pause = *ROTATION_PAUSE.start();
                // A plan that was made while the clock was wrong does not outlive the clock's correction by much.
                (until, 30)
            }
            Err(error) => {
                tracing::error!(%error, pause, "authorities were not rotated; trying again");
                let logged = journal::append(&domain, RotationFailed {}).await;
                if let Err::<_, JournalError>(error) = logged {
                    tracing::error!(%error, "and that could not be logged");
                }
                let next = now().plus_seconds(pause);
                pause = (pause * 2).min(*ROTATION_PAUSE.end());
                (next, 3600)
            }
        };
        let seconds = u64::try_from(next.seconds_since(now())).unwrap_or(0).clamp(1, longest);
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    }
}

/// A clock that starts far ahead of what is believed is on record: it may be right, and it may be why authorities that were
/// good a moment ago have ended.
async fn report_clock(domain: &Domain) -> Result<(), ServerError> {
    let Some(ahead) = domain.watch.belief.ahead(now()) else { return Ok(()) };
    tracing::error!(
        seconds = ahead,
        "the clock is ahead of the last time that this server is sure of; nothing is deleted by it until it is believed, a day \
         an hour. If it is wrong, stop the server, set the clock and start again"
    );
    journal::append(domain, ClockAhead { seconds: ahead })
        .await
        .map(drop)
        .map_err(|e| ServerError::Journal(e.to_string()))
}

/// A span for each request.
async fn traced(State(traces): State<Traces>, request: HttpRequest, next: Next) -> HttpResponse {
    traces.around(request, |request| next.run(request)).await
}
