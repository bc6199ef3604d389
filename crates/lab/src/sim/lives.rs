//! What is known of the sidecars: which identity each holds, and by which they have spoken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sekisho_types::UnixTime;

/// An identity that a sidecar holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    /// Which run of the sidecar holds it.
    pub start: u64,
    pub generation: u64,
    /// When it came.
    pub since: Duration,
    /// When it was issued, at the latest.
    pub issued: Duration,
    pub ends: UnixTime,
}

/// What is known of the sidecars.
#[derive(Default)]
pub(super) struct Sidecars {
    pub starts: u64,
    pub holds: BTreeMap<String, Life>,
    /// Pairs of identities by which a request was accepted.
    pub spoken: BTreeSet<(String, Life, Life)>,
    /// The entry that the operator made last for each, and when it was asked for.
    pub entries: BTreeMap<String, (String, Duration)>,
    /// When an agent, its server, or what is between them last failed, by the sidecar of its machine. That the sidecar
    /// itself was away excuses nothing: it asks its agent first.
    pub troubled: BTreeMap<String, Duration>,
    /// When the server, or what is between it and an agent, last failed, by the sidecar of that agent's machine.
    pub cut_off: BTreeMap<String, Duration>,
    /// When each sidecar last started, and when its agent did; and when that agent last stopped.
    pub started: BTreeMap<String, Duration>,
    pub agent_started: BTreeMap<String, Duration>,
    pub agent_stopped: BTreeMap<String, Duration>,
    /// Which sidecars are away, and since when.
    pub away: BTreeMap<String, Duration>,
    /// When the server went for good, and all SVIDs expired.
    pub centre_gone: Option<Duration>,
    /// By how much the server's clock is ahead of the simulation's, in nanoseconds.
    pub server_ahead: i64,
    /// By how much a sidecar's clock is behind the server's.
    pub behind: BTreeMap<String, Duration>,
}
