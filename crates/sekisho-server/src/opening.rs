//! Opens a trust domain: its folder, state, log and authorities, each held against the others.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use sekisho_disk::{Ledger, Segments, private_folder, write_atomic};
use sekisho_events::ClockAhead;
use sekisho_runtime::{Tasks, now, random_bytes};
use sekisho_store::{Batch, Delta, Epoch, LogMark, Marks, Write};
use sekisho_types::UnixTime;

use crate::authorities::Authorities;
use crate::backup::COPY_MARK;
use crate::config::DomainArgs;
use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::domain::{Domain, Identity, Limits, Log, Retention, ServerMonitor, Settings, Shared, Streams};
use crate::error::ServerError;
use crate::evidence_folder::EvidenceFolder;
use crate::final_check::PendingAnswers;
use crate::followers::Followers;
use crate::health::Health;
use crate::lineage::{Earlier, Opened};
use crate::log_binding::{self, LaterState};
use crate::outbox::Outbox;
use crate::rollback::RollbackDetector;
use crate::state_checks::StateChecks;
use crate::trusted_time::TrustedTime;
use crate::view::View;
use crate::witness::Witnesses;
use crate::{boot_policy, drain, journal, lineage, log_search, recent, rotation, settings_log, settle, unstored};

/// Opens the domain of `args`, with its view filled and an authority that signs. `tasks` are those that keep it.
pub(crate) async fn open(args: &DomainArgs, tasks: Tasks) -> Result<Shared, ServerError> {
    if let Some(folder) = args.policy_folder.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(ServerError::PolicyFolder(folder.display().to_string()));
    }
    let (domain, OpenedState { continues, later, outbox }) = load(args, tasks).await?;
    if lineage::log_earlier(&domain, continues).await.map_err(|e| ServerError::Journal(e.to_string()))? {
        // What it is from now on is what it is held against.
        drain::mark(&domain).await.map_err(|e| ServerError::Journal(e.to_string()))?;
    }
    // Before anything is recorded: what waits keeps its place, and no number is given twice.
    let settled = settle::settle(&domain, outbox, later.is_some()).await;
    settled.map_err(|e| ServerError::Journal(e.to_string()))?;
    drain::drain_outbox(&domain).await.map_err(|e| ServerError::Journal(e.to_string()))?;
    if let Some(later) = later {
        log_binding::continue_from_older(&domain, later).await.map_err(|e| ServerError::Journal(e.to_string()))?;
    }
    report_clock(&domain).await?;
    rotation::rotate(&domain, now()).await?;

    let domain: Shared = Arc::new(domain);
    let past = domain.store.past(&domain.identity.name, recent::KEPT).await?;
    domain.view.fill(domain.store.snapshot(&domain.identity.name).await?, past);
    let viewed = Arc::downgrade(&domain);
    domain.store.observe(Box::new(move |delta| {
        if let Some(domain) = viewed.upgrade().filter(|domain| domain.identity.name == delta.trust_domain) {
            committed(&domain, delta);
        }
    }));
    // From here on each commit is counted.
    domain.log.outbox.begins_with(domain.store.outbox_length(&domain.identity.name).await?);
    settings_log::record(&domain, &args.data).await.map_err(|e| ServerError::Journal(e.to_string()))?;
    Ok(domain)
}

/// The log that fits the database, and that which it goes on from if it does so under a new origin.
async fn open_log(args: &DomainArgs, mark: Option<&LogMark>) -> Result<Opened, ServerError> {
    let name = &args.trust_domain;
    let opened = lineage::open(&args.data, name)?;
    let Err(reason) = journal::check_mark(&opened.ledger, mark) else { return Ok(opened) };
    if !args.danger_accept_older_log {
        return Err(ServerError::OlderLog(reason, args.data.display().to_string()));
    }
    sekisho_runtime::danger("danger_accept_older_log", &format!("an older log is accepted: {reason}"));
    // Law L16: what weakens safety stands in the log. Entries that are missing may have been published.
    lineage::start_new_origin(&args.data, name, opened, lineage::OLDER_LOG_ACCEPTED, &reason)?;
    Ok(lineage::open_when_closed(&args.data, name).await?)
}

/// How state and log were found.
struct OpenedState {
    /// What the log was before, if it goes on under a new origin.
    continues: Option<Earlier>,
    /// Of which later state the log speaks.
    later: Option<LaterState>,
    /// Up to which number the log holds the leaves of the outbox.
    outbox: Option<i64>,
}

async fn load(args: &DomainArgs, tasks: Tasks) -> Result<(Domain, OpenedState), ServerError> {
    if args.data.join(COPY_MARK).exists() {
        return Err(ServerError::IsACopy(args.data.display().to_string()));
    }
    // What cannot be used is found before anything is written.
    let settings = settings(args)?;
    let keys = args.data.join("keys");
    private_folder(&keys)?;
    lineage::check_trust_domain(&args.data, &args.trust_domain)?;
    let store = sekisho_store::open(&args.data.join("state.db"))?;
    let name = args.trust_domain.clone();
    let (revision, records) = store.authorities(&name).await?;
    let Marks { log: mark, retention: believed, .. } = store.marks(&name).await?;
    let Opened { ledger, recovered, origin, continues } = open_log(args, mark.as_ref()).await?;
    let later = log_binding::later_state(&ledger, mark.as_ref(), revision);
    if let Some(later) = later.filter(|_| !args.danger_accept_older_state) {
        return Err(ServerError::OlderState(later.to_string(), args.data.display().to_string()));
    }
    // Before all else that this run writes: agents that know of a later revision than this have seen another history.
    store.commit(Batch::of(&name, Write::BeginEpoch(Epoch(random_bytes())))).await?;
    tracing::info!(size = recovered.size, replayed = recovered.replayed, origin, "ledger");
    write_atomic(&args.data.join("trust-policy"), format!("log {}\nquorum none\n", ledger.verifier()).as_bytes())?;
    let decisions = Segments::open(&args.data.join("decisions"), args.keep_decisions_bytes)?;
    let witnesses = witnesses(args, &ledger)?;
    let newest = log_search::newest_time(&ledger);
    let logged_before = unstored::logged_before(&ledger);
    let believed = TrustedTime::new(believed.or(newest.map(UnixTime::from_millis)), now());
    let authorities = Authorities::load(&name, store.server(), &keys, records)?;
    let bundle = authorities.bundle(revision.0)?;
    let server_id = name.workload("/spire/server").map_err(|e| ServerError::OwnSvid(e.to_string()))?;
    let view = Arc::new(View::new(bundle));
    let delivery = Delivery::new(view.clone(), server_id.clone());
    let domain = Domain {
        identity: Identity { name, server_id, authorities },
        settings,
        store,
        view,
        log: Log {
            ledger,
            decisions,
            evidence: EvidenceFolder::open(&args.data)?,
            witnesses,
            recording: std::array::from_fn(|_| Arc::default()),
            logged_before,
            outbox: Outbox::new(),
            log_time: AtomicI64::new(newest.unwrap_or(0)),
        },
        limits: Limits::new(),
        streams: Streams {
            delivery,
            pending_answers: PendingAnswers::new(),
            state_checks: StateChecks::default(),
            alerts: Default::default(),
            followers: Followers::new(),
            rollback: RollbackDetector::new(revision),
            policy_in_force: Mutex::new(BTreeMap::new()),
            revocations_applied: Mutex::default(),
        },
        watch: ServerMonitor {
            tasks,
            health: Health::new(),
            counters: Counters::default(),
            metrics: Default::default(),
            scrub: Arc::default(),
            trusted_time: believed,
            policy_folder_refused: Mutex::default(),
        },
    };
    Ok((domain, OpenedState { continues, later, outbox: recovered.outbox }))
}

fn settings(args: &DomainArgs) -> Result<Settings, ServerError> {
    let anchors = args.anchors.read(unread)?;
    anchors.dangers().for_each(|(name, meaning)| sekisho_runtime::danger(name, meaning));
    Ok(Settings {
        socket: args.socket_path(),
        policy_folder: args.policy_folder.clone(),
        publish_log: args.publish_log,
        alert_webhook: args.webhook.alert_webhook.is_some(),
        ca_ttl_seconds: args.ca_ttl_seconds,
        x509_ttl_seconds: args.x509_ttl_seconds,
        jwt_ttl_seconds: args.jwt_ttl_seconds,
        agent_ttl_seconds: args.agent_ttl_seconds,
        attest_every_seconds: args.attest_every_seconds,
        tpm_approval: args.tpm_approval,
        retention: Retention {
            decisions_days: args.keep_decisions_days,
            ended_days: args.keep_ended_days,
            openings_days: args.keep_openings_days,
        },
        anchors,
        boot_policy: args.boot_policy.as_deref().map(boot_policy::read).transpose()?,
    })
}

fn unread(flag: &'static str, path: &Path, reason: String) -> ServerError {
    ServerError::Anchors { flag, path: path.display().to_string(), reason }
}

/// The witnesses that are configured, if any are.
fn witnesses(args: &DomainArgs, ledger: &Ledger) -> Result<Option<Arc<Witnesses>>, ServerError> {
    let Some(path) = &args.witness_policy else { return Ok(None) };
    let error = |reason: String| ServerError::WitnessPolicy { path: path.display().to_string(), reason };
    let policy = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
    // A machine without the file can still ask witnesses of its own.
    let authorities = std::fs::read(&args.witness_ca).unwrap_or_default();
    Witnesses::open(&policy, &authorities, &args.data, ledger).map(|opened| Some(Arc::new(opened))).map_err(error)
}

/// Brings the view to a committed batch, on the store's own thread, before the batch's caller goes on.
fn committed(domain: &Shared, batch: &Delta) {
    domain.streams.delivery.committed(batch);
    domain.streams.followers.changed();
    if batch.leaves > 0 {
        domain.log.outbox.added(batch.leaves);
    }
}

/// A clock that starts far ahead of what is believed is on record. It may be right, and it may explain why authorities
/// expired at once.
async fn report_clock(domain: &Domain) -> Result<(), ServerError> {
    let Some(ahead) = domain.watch.trusted_time.ahead(now()) else { return Ok(()) };
    tracing::error!(
        seconds = ahead,
        "the clock is ahead of the last time that this server is sure of; nothing is deleted by it until it is \
            believed, a day an hour. If it is wrong, stop the server, set the clock and start again"
    );
    domain
        .journal()
        .append(ClockAhead { seconds: ahead })
        .await
        .map(drop)
        .map_err(|e| ServerError::Journal(e.to_string()))
}
