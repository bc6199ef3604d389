use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use sekisho_runtime::now;
use sekisho_types::{SpiffeId, TrustDomain, UnixTime};

use super::figures::Figures;
use super::query_error::QueryError;
use crate::caller::Operator;
use crate::domain::{Domain, Domains, Shared};
use crate::query::Query;

/// How a trust domain is. `all` is what the server serves.
pub(crate) struct ShowHealth {
    pub all: Domains,
}

pub(crate) struct Health {
    pub trust_domain: TrustDomain,
    pub figures: Figures,
    /// What sidecars run, by SPIFFE ID and node.
    pub policy_in_force: BTreeMap<String, BTreeMap<SpiffeId, u64>>,
    /// Leaves that wait.
    pub outbox: u64,
    pub now: UnixTime,
    /// Up to which time the clock is believed.
    pub believed: UnixTime,
    /// That of the newest leaf.
    pub log_time: UnixTime,
    /// The other trust domains of this server, and their sockets.
    pub beside: Vec<(TrustDomain, PathBuf)>,
}

impl Query for ShowHealth {
    type Caller = Operator;
    type Reply = Result<Health, QueryError>;

    async fn answer(self, of: &Shared, by: &Operator) -> Self::Reply {
        // One who may administer this trust domain from elsewhere learns nothing of the others.
        let others = self.all.iter().filter(|other| by.is_local() && !Arc::ptr_eq(other, of));
        let beside = others.map(|other| (other.identity.name.clone(), other.settings.socket.clone())).collect();
        let outbox = of.store.outbox_length(&of.identity.name).await?;
        let clock = now();
        Ok(Health {
            trust_domain: of.identity.name.clone(),
            figures: Figures::of(of),
            policy_in_force: policy_in_force(of),
            outbox,
            now: clock,
            believed: of.watch.trusted_time.time(clock).min(clock),
            log_time: UnixTime::from_millis(of.log.log_time.load(Ordering::Relaxed)),
            beside,
        })
    }
}

/// What nodes reported that still exist, by identity: one may run on several nodes.
fn policy_in_force(domain: &Domain) -> BTreeMap<String, BTreeMap<SpiffeId, u64>> {
    let mut reported = domain.streams.policy_in_force.lock().unwrap_or_else(PoisonError::into_inner);
    domain.view.read(|state| reported.retain(|node, _| state.nodes.contains_key(node)));
    let mut by_identity = BTreeMap::<String, BTreeMap<SpiffeId, u64>>::new();
    for (node, sidecars) in reported.iter() {
        for (id, revision) in sidecars {
            by_identity.entry(id.clone()).or_default().insert(node.clone(), *revision);
        }
    }
    by_identity
}

/// What keeps the server from attesting, issuing and recording, in each of its trust domains. What fails in another one
/// than that which was asked stands with its name.
pub(crate) struct Failing {
    pub all: Domains,
}

impl Query for Failing {
    type Caller = ();
    type Reply = Vec<String>;

    async fn answer(self, of: &Shared, _: &()) -> Vec<String> {
        let failing = self.all.iter().flat_map(|domain| {
            let name = if Arc::ptr_eq(domain, of) { String::new() } else { format!("{}: ", domain.identity.name) };
            domain.watch.health.failing().into_iter().map(move |part| format!("{name}{part}"))
        });
        failing.collect()
    }
}
