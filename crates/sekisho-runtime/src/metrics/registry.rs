//! Every metric of every program. Names begin with `sekisho_`; times are in seconds; labels have few values, or are
//! capped.

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while the program runs.
    Counter,
    Gauge,
    /// Counts by upper bound, in seconds.
    Histogram(&'static [Bound]),
}

/// An upper bound in microseconds, so that a registry can be compared.
pub type Bound = u64;

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Server,
    Agent,
    Sidecar,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Without `sekisho_`.
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    /// Beside `trust_domain`, which each sample of a server has.
    pub labels: &'static [&'static str],
    pub of: &'static [Program],
}

/// Decisions take microseconds.
const FAST: &[Bound] = &[10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 100_000];
/// Calls over the network, and the disk.
const CALLS: &[Bound] =
    &[1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];
/// From an event on a node to its record at the server.
const DETECTION: &[Bound] =
    &[50_000, 100_000, 250_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 15_000_000, 60_000_000, 300_000_000];

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:expr, [$($label:literal),*], [$($program:ident),+], $help:literal;)+) => {
        $(pub static $constant: Metric = Metric {
            name: $name,
            kind: $kind,
            help: $help,
            labels: &[$($label),*],
            of: &[$(Program::$program),+],
        };)+

        /// All of them, in the order of the reference page.
        pub static ALL: &[&Metric] = &[$(&$constant),+];
    };
}

metrics! {
    DECISIONS = "decisions_total", Kind::Counter, ["src", "dst", "effect", "rule"], [Sidecar],
        "Decisions by caller, service, effect and rule; beyond 1,000 combinations `other`.";
    DECISION_SECONDS = "decision_duration_seconds", Kind::Histogram(FAST), [], [Sidecar],
        "Time that a decision takes, without its record.";
    RECORDED_DECISIONS = "recorded_decisions_total", Kind::Counter, ["kind"], [Server],
        "Decisions and refusals of all nodes that the server recorded, by kind (allow, deny, refusal).";
    DETECT_SECONDS = "detect_seconds", Kind::Histogram(DETECTION), ["kind"], [Server],
        "Time from a denial or a refusal on a node to its record; its mean is the mean time to detect (MTTD).";
    ATTESTATION_DETECT_SECONDS = "attestation_detect_seconds", Kind::Histogram(DETECTION), [], [Server],
        "Time from the last accepted state of a node to its denial: the longest that a change went unseen.";
    SVID_NOT_AFTER = "svid_not_after_seconds", Kind::Gauge, [], [Agent, Sidecar],
        "Unix time at which the program's own SVID expires; 0 without one.";
    ISSUE_SECONDS = "svid_issue_duration_seconds", Kind::Histogram(CALLS), ["result"], [Agent],
        "Time in which the server answers a request for an X.509-SVID, by result (issued, refused).";
    SVIDS_HELD = "svids_held", Kind::Gauge, [], [Agent], "SVIDs of workloads that the agent holds.";
    STREAMS = "streams", Kind::Gauge, [], [Agent], "Open streams of workloads.";
    CONNECTED = "connected", Kind::Gauge, [], [Agent], "1 while the agent is connected to its server.";
    SPOOL_RECORDS = "spool_records", Kind::Gauge, [], [Agent, Sidecar], "Records that wait to be sent.";
    SPOOL_LOST = "spool_lost_records_total", Kind::Counter, [], [Agent, Sidecar],
        "Records that found no space; the count is a leaf.";
    APPLIED_REVISION = "applied_revision", Kind::Gauge, [], [Agent],
        "Revision of the state that the agent has applied.";
    REQUIRED_REVISION = "required_revision", Kind::Gauge, [], [Agent],
        "Revision that new SVIDs require of the agent's state; they are withheld while the applied one is lower.";
    POLICY_REVISION = "policy_revision", Kind::Gauge, [], [Server, Agent, Sidecar],
        "Revision of the policy; 0 without one.";
    X509_ISSUED = "x509_svids_issued_total", Kind::Counter, [], [Server],
        "X.509-SVIDs issued, the server's and agents' own included.";
    JWT_ISSUED = "jwt_svids_issued_total", Kind::Counter, [], [Server], "JWT-SVIDs issued.";
    ATTESTATIONS = "attestations_total", Kind::Counter, [], [Server], "Attestations that succeeded.";
    ATTESTATIONS_DENIED = "attestations_denied_total", Kind::Counter, [], [Server],
        "Nodes that proved which one they are, and whose state was refused.";
    DRILLS_PLAYED = "drills_played_total", Kind::Counter, [], [Server],
        "Attacks that operators played with the answers of nodes.";
    REFUSALS = "refusals_total", Kind::Counter, [], [Server], "Refusals, logged or counted.";
    WITHDRAWN = "issuances_withdrawn_total", Kind::Counter, [], [Server],
        "Issuances that were recorded and did not leave.";
    RECORDS_TAKEN = "records_taken_total", Kind::Counter, [], [Server],
        "Decisions and refusals made on nodes that were recorded.";
    RECORDS_LOST = "records_lost_total", Kind::Counter, [], [Server], "Records of nodes that were lost.";
    ENTRY_CHANGES = "entry_changes_total", Kind::Counter, ["event"], [Server], "Changes of entries.";
    AGENT_CHANGES = "agent_changes_total", Kind::Counter, ["event"], [Server],
        "Changes of agents by operators and by retention.";
    TOKEN_CHANGES = "token_changes_total", Kind::Counter, ["event"], [Server],
        "Join tokens created, used and revoked.";
    DEVICE_CHANGES = "device_changes_total", Kind::Counter, [], [Server],
        "TPMs that operators allowed, or no longer allow.";
    POLICY_REVISIONS = "policy_revisions_total", Kind::Counter, [], [Server], "Policies that came into force.";
    SETTINGS_CHANGES = "settings_changes_total", Kind::Counter, [], [Server],
        "Starts with other settings than before.";
    REVOCATIONS = "revocations_total", Kind::Counter, [], [Server], "Revocations by operators.";
    KEY_EVENTS = "key_events_total", Kind::Counter, [], [Server], "Events of authorities, the log and the clock.";
    LOG_SIZE = "log_size_entries", Kind::Gauge, [], [Server],
        "Entries of the log that a published checkpoint covers.";
    LOG_DAMAGE = "log_damage", Kind::Gauge, [], [Server],
        "Parts of the log that were found damaged on disk since the start.";
    LOG_CHECKED = "log_bundles_checked_total", Kind::Counter, [], [Server],
        "Bundles of the log that were read again.";
    ENTRIES = "registration_entries", Kind::Gauge, [], [Server], "Registration entries.";
    AGENTS = "agents", Kind::Gauge, [], [Server], "Agents that are known, banned ones included.";
    REVISION = "revision", Kind::Gauge, [], [Server], "Revision of the state.";
    POLICY_REFUSED = "policy_folder_refused", Kind::Gauge, [], [Server],
        "1 while the policy folder is not taken as it is.";
    AUTHORITY_END = "authority_end_seconds", Kind::Gauge, [], [Server],
        "Unix time at which the signing authority ends.";
    CLOCK_AHEAD = "clock_ahead_seconds", Kind::Gauge, [], [Server],
        "Seconds by which the clock is ahead of what is believed; 0 up to a day.";
    DANGERS = "dangers", Kind::Gauge, [], [Server, Agent, Sidecar],
        "Settings in force that weaken safety; the log names them at the start.";
    NETWORK_RULES = "network_rules", Kind::Gauge, ["state"], [Agent],
        "Network rules of this machine's workloads, as found in the kernel: in_force, missing, unchecked (no right).";
    NETWORK_LEFT_OUT = "network_left_out", Kind::Gauge, [], [Agent],
        "What these rules do not govern, over all workloads; `sekisho network list` names it.";
    TASK_RUNNING = "task_running", Kind::Gauge, ["task"], [Server], "1 while a long-running task runs.";
    TASK_RESTARTS = "task_restarts_total", Kind::Counter, ["task"], [Server],
        "How often a task stopped and was started again.";
}

/// The metric of this name, without `sekisho_`.
pub fn named(name: &str) -> Option<&'static Metric> {
    ALL.iter().copied().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_what_they_count() {
        for metric in ALL {
            assert_eq!(named(metric.name), Some(*metric));
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.help.ends_with('.') && metric.labels.len() <= 4, "{}", metric.name);
            if let Kind::Histogram(bounds) = metric.kind {
                assert!(metric.name.ends_with("_seconds") && bounds.is_sorted(), "{}", metric.name);
            }
        }
    }
}
