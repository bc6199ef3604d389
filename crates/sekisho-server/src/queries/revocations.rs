use std::collections::BTreeMap;
use std::sync::PoisonError;

use sekisho_identity::Revocations;
use sekisho_runtime::now;
use sekisho_types::SpiffeId;

use crate::caller::Operator;
use crate::domain::Shared;
use crate::query::Query;

/// One sidecar, or several that speak for one identity on one node: the newest revision that all of them have applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub agent: SpiffeId,
    pub spiffe_id: String,
    pub revision: u64,
}

/// The revocations in force, and what sidecars have applied.
pub(crate) struct ListRevocations;

pub(crate) struct InForce {
    pub revocations: Revocations,
    pub applied: Vec<Applied>,
}

impl Query for ListRevocations {
    type Caller = Operator;
    type Reply = InForce;

    /// An agent that is gone, banned or whose SVID has expired has no sidecar that is worth waiting for.
    async fn answer(self, of: &Shared, _: &Operator) -> InForce {
        let mut reports = of.streams.revocations_applied.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = now();
        let mut revocations = of.view.read(|state| {
            let lives =
                |agent: &SpiffeId| state.nodes.get(agent).is_some_and(|node| !node.banned && node.expires_at > clock);
            reports.retain(|agent, _| lives(agent));
            (*state.revocations).clone()
        });
        revocations.prune(clock);
        let of_agent = |(agent, ids): (&SpiffeId, &BTreeMap<String, u64>)| {
            let one = |(id, revision): (&String, &u64)| Applied {
                agent: agent.clone(),
                spiffe_id: id.clone(),
                revision: *revision,
            };
            ids.iter().map(one).collect::<Vec<_>>()
        };
        let applied = reports.iter().flat_map(of_agent).collect();
        InForce { revocations, applied }
    }
}
