//! An agent's stream: what it is sent (`delivery`), and what it reports on the way back.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use futures_util::{Stream, StreamExt};
use sekisho_identity::Standing;
use sekisho_proto::server as wire;
use sekisho_runtime::now;
use sekisho_store::Epoch;
use sekisho_types::{Revision, SpiffeId};
use tokio::sync::oneshot;
use tonic::{Status, Streaming};

use crate::caller::AgentCaller;
use crate::delivery::{CloseReason, Cursor, Position, Shown};
use crate::denied::Denied;
use crate::domain::{Shared, Streams};
use crate::executor::Call;
use crate::jump;
use crate::recent::Since;

pub(crate) type Changes = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;

/// An agent that serves more parents begins with everything.
const MAX_PARENTS: usize = 4096;

/// Opens the stream of an agent, which reports by `requests`.
pub(crate) fn open(call: Call<AgentCaller>, requests: Streaming<wire::WatchRequest>) -> Changes {
    let agent = &call.caller;
    let shown = Shown { agent: agent.id.get().clone(), serial: agent.serial.clone(), ends: agent.not_after };
    let (first, position) = oneshot::channel();
    let feed = call.domain().streams.delivery.open(shown, position);
    tokio::spawn(follow_reports(call, requests, first));
    futures_util::stream::unfold(feed, |mut feed| async move {
        let next = feed.next().await?;
        Some((next.map_err(end_status), feed))
    })
    .boxed()
}

fn end_status(ended: CloseReason) -> Status {
    match ended {
        CloseReason::Replaced => Status::aborted(
            "another stream of this agent took the place of this one; an agent \
            has one",
        ),
        CloseReason::Expired => Denied::Expired.into(),
        CloseReason::Standing(standing) => Denied::Standing(standing).into(),
    }
}

/// Hears what an agent reports while it stands well, and from where it goes on. What cannot be read is
/// on record.
async fn follow_reports(
    call: Call<AgentCaller>,
    mut requests: Streaming<wire::WatchRequest>,
    first: oneshot::Sender<Option<Position>>,
) {
    let (domain, agent, mut first) = (call.domain(), &call.caller, Some(first));
    loop {
        let mut request = match requests.message().await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(status) => return drop(call.refuse(status).await),
        };
        if let Some(first) = first.take() {
            let _gone = first.send(request.position.take().and_then(position_from_wire));
        }
        tracing::debug!(agent = %agent.id.get(), revision = request.applied_revision, "applied");
        if agent.standing(domain) != Standing::Good {
            return;
        }
        jump::applied_by_agent(domain, agent.id.get(), request.applied_revision).await;
        take_report(domain, agent, &request);
    }
}

/// `None` if it is not a position: an agent of which this server understands nothing begins with everything.
fn position_from_wire(wire: wire::Position) -> Option<Position> {
    if wire.parent_ids.len() > MAX_PARENTS {
        return None;
    }
    let parents = wire.parent_ids.iter().map(|id| SpiffeId::parse(id)).collect::<Result<_, _>>();
    Some(Position {
        epoch: Epoch(wire.epoch.try_into().ok()?),
        cursor: Cursor {
            since: Since::Revision(Revision(wire.revision)),
            parents: Arc::new(parents.ok()?),
            bundle_sequence: Some(wire.bundle_sequence),
            policy_revision: wire.policy_revision,
        },
    })
}

/// An agent reports for the identities that it serves, and for no other's.
fn take_report(domain: &Shared, agent: &AgentCaller, report: &wire::WatchRequest) {
    let id = agent.id.get();
    let served = domain.view.read(|state| state.authorized(&agent.node, &domain.identity.server_id, now()));
    let served: Vec<String> = served.iter().map(|entry| entry.spiffe_id.to_string()).collect();
    // It takes the place of the one before: what an agent does not report any more does not hold any more.
    let of_served = |reported: &HashMap<String, u64>| {
        served.iter().filter_map(|own| Some((own.clone(), *reported.get(own)?))).collect::<BTreeMap<_, _>>()
    };
    let (applied, in_force) = (of_served(&report.revocations_applied), of_served(&report.policy_in_force));
    let Streams { revocations_applied, policy_in_force, .. } = &domain.streams;
    revocations_applied.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), applied);
    policy_in_force.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), in_force);
}

#[cfg(test)]
mod tests {
    use sekisho_types::EntryId;

    use super::*;
    use crate::commands::{CreateEntries, DeleteEntry};
    use crate::refusal::Refusal;
    use crate::testbed::{Testbed, entry};

    #[tokio::test]
    async fn law_l15_a_report_replaces_the_last() {
        let bed = Testbed::new().await;
        let shown = bed.joined("host-a").await;
        let entries = vec![entry("ent_1", "/shop", &shown.spiffe_id)];
        bed.operator().await.execute_all(CreateEntries { entries }).await.map_err(Refusal::into_error).unwrap();
        let call = bed.agent(&shown).await;
        let reports = |ids: &[&str]| {
            let id = |id: &&str| (format!("spiffe://example.org{id}"), 3);
            let policy_in_force = ids.iter().map(id).collect();
            take_report(&bed.domain, &call.caller, &wire::WatchRequest { policy_in_force, ..Default::default() });
            let in_force = bed.domain.streams.policy_in_force.lock().unwrap();
            in_force[&shown.spiffe_id].keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(reports(&["/shop", "/of-another"]), ["spiffe://example.org/shop"]);
        assert!(reports(&[]).is_empty());
        assert_eq!(reports(&["/shop"]).len(), 1);
        // What no entry gives any more is reported by none.
        let id = EntryId::parse("ent_1").unwrap();
        bed.operator().await.execute(DeleteEntry { id }).await.map_err(Refusal::into_error).unwrap();
        assert!(reports(&["/shop"]).is_empty());
    }
}
