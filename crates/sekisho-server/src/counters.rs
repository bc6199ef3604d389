//! What the server counts for its operators: how much was recorded since it started. Each event says what it counts,
//! and nothing else counts.

use std::sync::atomic::{AtomicU64, Ordering};

use sekisho_events::{Counter, Event};
use sekisho_store::Item;

#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; Counter::ALL.len()]);

impl Counters {
    /// Counts an event whose leaf is durable.
    pub(crate) fn recorded(&self, event: &Event) {
        event.count(|counter, number| self.add(counter, number));
    }

    /// Counts what a change records, which is durable.
    pub(crate) fn written(&self, counts: &Counts) {
        counts.0.iter().for_each(|(counter, number)| self.add(*counter, *number));
    }

    fn add(&self, counter: Counter, number: u64) {
        if let Some(value) = self.0.get(counter as usize) {
            value.fetch_add(number, Ordering::Relaxed);
        }
    }

    pub(crate) fn value(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).map_or(0, |value| value.load(Ordering::Relaxed))
    }
}

/// What a change counts once it is written.
pub(crate) struct Counts(Vec<(Counter, u64)>);

impl Counts {
    pub(crate) fn of(item: &Item) -> Self {
        let mut counts = vec![];
        item.events().for_each(|event| event.count(|counter, number| counts.push((counter, number))));
        Self(counts)
    }
}

/// A metric: its name, the label that tells it from others of its name, and what it means.
pub(crate) struct Shown {
    pub name: &'static str,
    pub label: Option<(&'static str, &'static str)>,
    pub help: &'static str,
}

/// How a counter is shown. Labels are ours: few, and never of what a caller sends.
pub(crate) const fn shown(counter: Counter) -> Shown {
    const ENTRIES: (&str, &str) = ("entry_changes_total", "Changes of entries.");
    const AGENTS: (&str, &str) = ("agent_changes_total", "Changes of agents by operators and by retention.");
    const TOKENS: (&str, &str) = ("token_changes_total", "Join tokens created, used and revoked.");
    let ((name, help), event) = match counter {
        Counter::X509SvidsIssued => {
            (("x509_svids_issued_total", "X.509-SVIDs issued, the server's and agents' own included."), None)
        }
        Counter::JwtSvidsIssued => (("jwt_svids_issued_total", "JWT-SVIDs issued."), None),
        Counter::Attestations => (("attestations_total", "Attestations that succeeded."), None),
        Counter::AttestationsDenied => {
            (("attestations_denied_total", "Nodes that proved which one they are, and whose state was refused."), None)
        }
        Counter::DrillsPlayed => {
            (("drills_played_total", "Attacks that operators played with the answers of nodes."), None)
        }
        Counter::Refusals => (("refusals_total", "Refusals, logged or counted."), None),
        Counter::Withdrawals => {
            (("issuances_withdrawn_total", "Issuances that were recorded and did not leave."), None)
        }
        Counter::RecordsTaken => {
            (("records_taken_total", "Decisions and refusals made on nodes that were recorded."), None)
        }
        Counter::RecordsLost => (("records_lost_total", "Records of nodes that were lost."), None),
        Counter::EntriesCreated => (ENTRIES, Some("created")),
        Counter::EntriesUpdated => (ENTRIES, Some("updated")),
        Counter::EntriesDeleted => (ENTRIES, Some("deleted")),
        Counter::EntriesForgotten => (ENTRIES, Some("forgotten")),
        Counter::AgentsBanned => (AGENTS, Some("banned")),
        Counter::AgentsEvicted => (AGENTS, Some("evicted")),
        Counter::AgentsForgotten => (AGENTS, Some("forgotten")),
        Counter::TokensCreated => (TOKENS, Some("created")),
        Counter::TokensUsed => (TOKENS, Some("used")),
        Counter::TokensRevoked => (TOKENS, Some("revoked")),
        Counter::DeviceChanges => (("device_changes_total", "TPMs that operators allowed, or no longer allow."), None),
        Counter::PolicyRevisions => (("policy_revisions_total", "Policies that came into force."), None),
        Counter::SettingsChanges => (("settings_changes_total", "Starts with other settings than before."), None),
        Counter::Revocations => (("revocations_total", "Revocations by operators."), None),
        Counter::KeyEvents => (("key_events_total", "Events of authorities, the log and the clock."), None),
    };
    let label = match event {
        Some(event) => Some(("event", event)),
        None => None,
    };
    Shown { name, label, help }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sekisho_events::{AgentEvicted, Personal, RefusalsCounted};
    use sekisho_types::{SpiffeId, TrustDomain, UnixTime};

    use super::*;

    #[test]
    fn each_counter_is_a_metric_of_its_own() {
        let metrics: BTreeSet<_> =
            Counter::ALL.iter().map(|counter| (shown(*counter).name, shown(*counter).label)).collect();
        assert_eq!(metrics.len(), Counter::ALL.len());
        assert!(metrics.iter().all(|(name, _)| name.ends_with("_total")));
    }

    #[test]
    fn what_is_recorded_counts_and_nothing_else() {
        let counters = Counters::default();
        counters.recorded(&RefusalsCounted { caller: None, lost: 7 }.into());
        let agent = SpiffeId::parse("spiffe://example.org/spire/agent/a").unwrap();
        let evicted = AgentEvicted { agent: Personal::new(agent, [1; 32]), by: Personal::new("uid:0".into(), [2; 32]) };
        let leaf = sekisho_events::Leaf::new(TrustDomain::parse("example.org").unwrap(), UnixTime::default(), evicted);
        let counts = Counts::of(&Item::default().record(leaf));
        assert_eq!((counters.value(Counter::Refusals), counters.value(Counter::AgentsEvicted)), (7, 0));
        counters.written(&counts);
        let counted: Vec<_> = Counter::ALL.iter().filter(|counter| counters.value(**counter) > 0).collect();
        assert_eq!(counted, [&Counter::Refusals, &Counter::AgentsEvicted]);
    }
}
