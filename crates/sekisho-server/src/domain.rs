//! One trust domain on this server: its authorities, state, log and limits.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use sekisho_disk::{Ledger, Segments};
use sekisho_evidence::boot::BootPolicy;
use sekisho_net::{Rates, Slots};
use sekisho_policy::PolicySet;
use sekisho_runtime::Tasks;
use sekisho_runtime::metrics::Metrics;
use sekisho_store::Store;
use sekisho_types::{SpiffeId, TrustDomain, UnixTime};

use crate::anchors::Anchors;
use crate::authorities::Authorities;
use crate::budget::Budgets;
use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::evidence_folder::EvidenceFolder;
use crate::fair_queue::FairQueue;
use crate::final_check::PendingAnswers;
use crate::followers::Followers;
use crate::health::Health;
use crate::outbox::Outbox;
use crate::raised_alerts::RaisedAlerts;
use crate::refusal_counts::Refusals;
use crate::rollback::RollbackDetector;
use crate::scrub::Scrub;
use crate::state_checks::StateChecks;
use crate::trusted_time::TrustedTime;
use crate::unstored::{ByFirst, Unstored};
use crate::used_once::UsedOnce;
use crate::view::View;
use crate::witness::Witnesses;

pub(crate) struct Domain {
    pub identity: Identity,
    pub settings: Settings,
    pub store: Arc<dyn Store>,
    pub view: Arc<View>,
    pub log: Log,
    pub limits: Limits,
    pub streams: Streams,
    pub watch: ServerMonitor,
}

/// Who this server is, and with what it signs.
pub(crate) struct Identity {
    pub name: TrustDomain,
    /// The server's own SPIFFE ID.
    pub server_id: SpiffeId,
    pub authorities: Authorities,
}

/// The log, and the way of leaves and records into it.
pub(crate) struct Log {
    pub ledger: Ledger,
    /// Records made on nodes, for listing, proving and replaying.
    pub decisions: Segments,
    /// What nodes showed when they proved themselves. Leaves name it.
    pub evidence: EvidenceFolder,
    /// Who cosigns the log, if that is configured.
    pub witnesses: Option<Arc<Witnesses>>,
    /// Records of one spool are taken one batch at a time, so that a repeated batch is seen as one.
    pub recording: [Arc<tokio::sync::Mutex<Unstored>>; 64],
    /// Batches that an earlier run logged, and may not have stored.
    pub logged_before: ByFirst,
    /// What waits between the state and the log.
    pub outbox: Outbox,
    /// The time of the newest leaf, in milliseconds: the log's time does not run backwards.
    pub log_time: AtomicI64,
}

/// What callers may ask for before they wait.
pub(crate) struct Limits {
    /// By network: one host has as many IPv6 addresses as it likes.
    pub attestations: Rates<IpAddr>,
    /// Nodes that are proving themselves, by network.
    pub conversations: Arc<Slots<IpAddr>>,
    pub refusals: Refusals,
    pub budgets: Budgets,
    /// Certifications of workloads' keys.
    pub certifications: UsedOnce,
    /// For checking and signing, by the agent that asks; the server's own identity has a key of its own.
    pub queue: FairQueue<SpiffeId>,
    /// Partial evaluations, one at a time; the policy set that the last one was about, and its revision.
    pub compiling: tokio::sync::Mutex<Option<(u64, Arc<PolicySet>)>>,
}

/// Attestations at a time; an eighth of them from one network. Each may hold two logs of 4 MiB.
const CONVERSATIONS: usize = 128;

impl Limits {
    pub(crate) fn new() -> Self {
        let threads = tokio::runtime::Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        Self {
            attestations: Rates::new(1.0, 20.0),
            conversations: Slots::new(CONVERSATIONS, CONVERSATIONS / 8),
            refusals: Refusals::new(),
            budgets: Budgets::new(),
            certifications: UsedOnce::default(),
            queue: FairQueue::new(threads),
            compiling: tokio::sync::Mutex::default(),
        }
    }
}

/// What is on its way to agents, and what they report.
pub(crate) struct Streams {
    /// Changes on their way to agents.
    pub delivery: Delivery,
    /// Answers with identities that are on their way out.
    pub pending_answers: PendingAnswers,
    /// Nodes that show their state again and again.
    pub state_checks: StateChecks,
    /// Alerts on their way into the store.
    pub alerts: RaisedAlerts,
    /// Operators who follow what happens.
    pub followers: Followers,
    /// Whether agents have seen later revisions than this server has.
    pub rollback: RollbackDetector,
    /// The policy revision that the sidecar of each identity runs, as its agent reported it last, by agent.
    pub policy_in_force: Mutex<BTreeMap<SpiffeId, BTreeMap<String, u64>>>,
    /// The newest revision of the revocations that each sidecar has applied, by agent and identity.
    pub revocations_applied: Mutex<BTreeMap<SpiffeId, BTreeMap<String, u64>>>,
}

/// What the server knows of itself.
pub(crate) struct ServerMonitor {
    /// The program's long-running tasks.
    pub tasks: Tasks,
    pub health: Health,
    pub counters: Counters,
    pub metrics: Metrics,
    pub scrub: Arc<Scrub>,
    /// How far the clock is believed.
    pub trusted_time: TrustedTime,
    /// Why the policy folder as it is now was not taken, if it was not.
    pub policy_folder_refused: Mutex<Option<String>>,
}

impl Log {
    /// The time for a new leaf: now, or that of the newest leaf if the clock was set back. Ids of leaves are found in
    /// the log by their time.
    pub(crate) fn time(&self) -> UnixTime {
        let now = sekisho_runtime::now().millis();
        let newest = self.log_time.fetch_max(now, Ordering::Relaxed).max(now);
        UnixTime::from_millis(newest)
    }

    /// A new id that holds the log's time, for `iss_…` and the like.
    pub(crate) fn new_id(&self) -> [u8; 16] {
        sekisho_runtime::time_ordered_id(self.time())
    }
}

impl Domain {
    /// The newest checkpoint that its witnesses cosigned.
    pub(crate) fn cosigned(&self) -> Option<(u64, Arc<str>)> {
        self.log.witnesses.as_ref()?.cosigned()
    }
}

/// How long things are kept that nothing uses any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// Records of decisions, within the bound of their number.
    pub decisions_days: u32,
    /// Agents whose SVID has expired, and expired entries.
    pub ended_days: u32,
    /// What opens the commitments in leaves; permanently if absent.
    pub openings_days: Option<u32>,
}

pub(crate) struct Settings {
    /// For operators on this machine.
    pub socket: PathBuf,
    /// Where policy comes from, if that is a folder.
    pub policy_folder: Option<PathBuf>,
    /// Whether checkpoints, tiles and leaves are public.
    pub publish_log: bool,
    /// Whether alerts are sent to a webhook.
    pub alert_webhook: bool,
    pub ca_ttl_seconds: u32,
    pub x509_ttl_seconds: u32,
    pub jwt_ttl_seconds: u32,
    pub agent_ttl_seconds: u32,
    /// How often a node shows its state, if it can.
    pub attest_every_seconds: u32,
    /// Whether operators may allow single TPMs that no authority vouches for.
    pub tpm_approval: bool,
    pub retention: Retention,
    /// Who attests nodes.
    pub anchors: Anchors,
    /// Which boots of nodes are admitted, if that is restricted.
    pub boot_policy: Option<Arc<BootPolicy>>,
}

pub(crate) type Shared = Arc<Domain>;

/// All that this server serves, the one for clients that name none first.
pub(crate) type Domains = Arc<[Shared]>;
