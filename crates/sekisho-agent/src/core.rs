//! What the agent knows and holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use sekisho_disk::Spool;
use sekisho_host::DigestCache;
use sekisho_identity::{Bundle, Entry, Revocations};
use sekisho_net::{Identity, Rates, TlsSource};
use sekisho_proto::server as wire;
use sekisho_types::{Digest, EntryId, Selector, SpiffeId, UnixTime};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

use crate::cache::Cache;
use crate::delegations::Delegations;
use crate::shares::Shares;
use crate::sole_holder::{self, Looks};
use crate::turns::Turns;

/// An SVID held for a process, with when to renew it.
#[derive(Clone)]
pub(crate) struct HeldSvid {
    pub spiffe_id: SpiffeId,
    pub identity: Identity,
    pub not_after: UnixTime,
    pub renew_at: UnixTime,
    pub hint: String,
    pub log_index: u64,
    /// Of the entry as it stood when this was issued.
    pub entry_revision: i64,
}

/// Which SVIDs may be shared: those of one entry for processes of equal measurement.
pub(crate) type HeldKey = (EntryId, Digest);

/// Taken while an SVID is asked for; holds how the last attempt failed, for those who waited for it.
pub(crate) type Turn = Arc<tokio::sync::Mutex<Option<(Instant, Status)>>>;

/// The agent's own SVID.
#[derive(Clone)]
pub(crate) struct AgentSvid {
    pub id: SpiffeId,
    pub identity: Identity,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
}

/// State that comes from the server.
#[derive(Clone)]
pub(crate) struct Known {
    pub revision: u64,
    pub entries: BTreeMap<EntryId, Arc<Entry>>,
    pub bundle: Arc<Bundle>,
    pub policy: Option<wire::Policy>,
    /// `None` until the server has sent them.
    pub revocations: Option<Arc<Revocations>>,
}

pub(crate) struct Core {
    pub server_address: String,
    pub own_uid: u32,
    /// A connection that survives exec is served all the same.
    pub danger_inheritable_sockets: bool,
    /// Whether every process's descriptors can be read here.
    pub traces_others: bool,
    pub looks: Looks,
    /// Replaced with each SVID of the agent: an open connection goes on showing the one that it began with.
    server: RwLock<Channel>,
    /// Counts those replacements, so that the delta stream moves over.
    pub redialled: watch::Sender<u64>,
    pub tls: TlsSource,
    pub digests: DigestCache,
    pub sidecar_digests: BTreeSet<Digest>,
    pub spool: Spool,
    /// What one user's processes may ask the server for.
    pub shares: Shares,
    /// Processes of one user that are measured at once.
    pub measuring: Turns,
    /// Refusals that one user's processes put into the spool.
    pub refusals: Rates<u32>,
    /// The same for what they had judged: others' tokens must not use up what their own refusals need.
    pub verdicts: Rates<u32>,
    /// Refusals beyond that, for the spool to count.
    pub unrecorded: AtomicU64,
    /// Rings when there is one.
    pub uncounted: tokio::sync::Notify,
    pub cache: Cache,
    own: RwLock<AgentSvid>,
    known: RwLock<Known>,
    pub(crate) held: Mutex<BTreeMap<HeldKey, Arc<HeldSvid>>>,
    /// One issuance at a time for each key; the others wait for its result.
    pub(crate) issuing: Mutex<BTreeMap<HeldKey, Turn>>,
    /// Rings whenever what the server said has changed.
    changed: watch::Sender<u64>,
    pub connected: watch::Sender<bool>,
    /// Whether sidecars may rely on the revocations: the server sent them in this run, or it cannot be reached.
    pub revocations_settled: watch::Sender<bool>,
    /// Rings when a sidecar reports what it runs.
    pub reported: watch::Sender<u64>,
    streams: Mutex<BTreeMap<i32, u32>>,
    pub delegations: Delegations,
    pub save_wanted: tokio::sync::Notify,
    /// Rings when the server no longer knows this agent.
    pub attest_wanted: tokio::sync::Notify,
}

pub(crate) struct Parts {
    pub server_address: String,
    pub own_uid: u32,
    pub danger_inheritable_sockets: bool,
    pub server: Channel,
    pub tls: TlsSource,
    pub sidecar_digests: BTreeSet<Digest>,
    pub spool: Spool,
    pub cache: Cache,
    pub own: AgentSvid,
    pub known: Known,
    pub held: BTreeMap<HeldKey, Arc<HeldSvid>>,
}

/// Streams that one process may keep open.
const MAX_STREAMS_PER_PROCESS: u32 = 1024;

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            server_address: parts.server_address,
            own_uid: parts.own_uid,
            danger_inheritable_sockets: parts.danger_inheritable_sockets,
            traces_others: sole_holder::sees_all(),
            looks: Looks::default(),
            server: RwLock::new(parts.server),
            redialled: watch::channel(0).0,
            tls: parts.tls,
            digests: DigestCache::default(),
            sidecar_digests: parts.sidecar_digests,
            spool: parts.spool,
            shares: Shares::new(),
            measuring: Turns::new(16),
            refusals: Rates::new(5.0, 50.0),
            verdicts: Rates::new(5.0, 50.0),
            unrecorded: AtomicU64::new(0),
            uncounted: tokio::sync::Notify::new(),
            cache: parts.cache,
            own: RwLock::new(parts.own),
            known: RwLock::new(parts.known),
            held: Mutex::new(parts.held),
            issuing: Mutex::new(BTreeMap::new()),
            changed: watch::channel(0).0,
            connected: watch::channel(false).0,
            revocations_settled: watch::channel(false).0,
            reported: watch::channel(0).0,
            streams: Mutex::new(BTreeMap::new()),
            delegations: Delegations::default(),
            save_wanted: tokio::sync::Notify::new(),
            attest_wanted: tokio::sync::Notify::new(),
        }
    }

    pub(crate) fn own(&self) -> AgentSvid {
        self.own.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A channel to the server that shows the agent's SVID in force.
    pub(crate) fn server(&self) -> Channel {
        self.server.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a new SVID into use, with a new connection that shows it.
    pub(crate) fn set_own(&self, svid: AgentSvid, server: Channel) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = svid;
        *self.server.write().unwrap_or_else(PoisonError::into_inner) = server;
        self.redialled.send_modify(|count| *count += 1);
    }

    pub(crate) fn known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn bundle(&self) -> Arc<Bundle> {
        self.known(|known| known.bundle.clone())
    }

    /// Takes a change from the server and rings.
    pub(crate) fn learn(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The entries that a process with these selectors matches.
    pub(crate) fn matches(&self, selectors: &BTreeSet<Selector>, now: UnixTime) -> Vec<Arc<Entry>> {
        self.known(|known| {
            let found = sekisho_identity::matches(known.entries.values().map(AsRef::as_ref), selectors, now);
            found.into_iter().filter_map(|entry| known.entries.get(&entry.id).cloned()).collect()
        })
    }

    /// Counts a stream of a process; `None` when it has too many.
    pub(crate) fn open_stream(self: &Arc<Self>, pid: i32) -> Option<StreamGuard> {
        let mut streams = self.lock_streams();
        let open = streams.entry(pid).or_insert(0);
        if *open >= MAX_STREAMS_PER_PROCESS {
            return None;
        }
        *open += 1;
        drop(streams);
        Some(StreamGuard { core: self.clone(), pid })
    }

    pub(crate) fn stream_count(&self) -> u32 {
        self.lock_streams().values().sum()
    }

    fn lock_streams(&self) -> MutexGuard<'_, BTreeMap<i32, u32>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a stream's place back when it ends.
pub(crate) struct StreamGuard {
    core: Arc<Core>,
    pid: i32,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let mut streams = self.core.lock_streams();
        if let Some(open) = streams.get_mut(&self.pid) {
            *open -= 1;
            if *open == 0 {
                streams.remove(&self.pid);
            }
        }
    }
}
