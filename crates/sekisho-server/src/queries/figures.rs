use std::collections::BTreeMap;
use std::sync::PoisonError;

use sekisho_disk::LogDamage;
use sekisho_events::Counter;
use sekisho_runtime::{TaskStatus, now};
use sekisho_types::{Revision, UnixTime};

use crate::caller::Operator;
use crate::domain::{Domain, Shared};
use crate::query::Query;

/// What health and metrics say alike of a trust domain.
pub(crate) struct Figures {
    pub revision: Revision,
    pub entries: usize,
    pub agents: usize,
    pub policy_revision: Option<u64>,
    pub policy_folder_refused: Option<String>,
    pub log_size: u64,
    pub damage: Vec<LogDamage>,
    /// When the signing authority ends.
    pub authority_ends: Option<UnixTime>,
    pub tasks: BTreeMap<&'static str, TaskStatus>,
    pub dangers: Vec<&'static str>,
}

impl Figures {
    pub(crate) fn of(domain: &Domain) -> Self {
        let (revision, entries, agents, policy_revision) = domain.view.read(|state| {
            let policy = state.policy.as_ref().map(|policy| policy.revision);
            (state.revision, state.entries.len(), state.nodes.len(), policy)
        });
        let refused = domain.watch.policy_folder_refused.lock();
        Self {
            revision,
            entries,
            agents,
            policy_revision,
            policy_folder_refused: refused.unwrap_or_else(PoisonError::into_inner).clone(),
            log_size: domain.log.ledger.size(),
            damage: domain.watch.scrub.damage(),
            authority_ends: domain.identity.authorities.signing().ok().map(|signing| signing.record.not_after),
            tasks: domain.watch.tasks.status(),
            dangers: sekisho_runtime::dangers(),
        }
    }
}

/// What is measured of a trust domain.
pub(crate) struct ShowFigures;

impl Query for ShowFigures {
    type Caller = Operator;
    type Reply = Measured;

    async fn answer(self, of: &Shared, _: &Operator) -> Measured {
        Measured::of(of)
    }
}

pub(crate) struct Measured {
    pub trust_domain: String,
    pub figures: Figures,
    /// Bundles of the log that were read again.
    pub bundles_checked: u64,
    /// By how many seconds the clock is ahead of what is believed, if by more than a day.
    pub clock_ahead: Option<i64>,
    /// What was recorded since the start.
    pub counts: Vec<(Counter, u64)>,
    /// Metrics that are measured where they arise, as text.
    pub others: String,
}

impl Measured {
    pub(crate) fn of(domain: &Domain) -> Self {
        let name = domain.identity.name.as_str();
        let count = |counter: &Counter| (*counter, domain.watch.counters.value(*counter));
        Self {
            trust_domain: name.to_owned(),
            figures: Figures::of(domain),
            bundles_checked: domain.watch.scrub.bundles(),
            clock_ahead: domain.watch.trusted_time.ahead(now()),
            counts: Counter::ALL.iter().map(count).collect(),
            others: domain.watch.metrics.text(&[("trust_domain", name)]),
        }
    }
}
