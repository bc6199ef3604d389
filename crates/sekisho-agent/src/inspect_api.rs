//! For operators on the node: why a process has no identity, and how the agent does.

use std::sync::Arc;

use sekisho_host::Process;
use sekisho_identity::{Difference, matches, near};
use sekisho_proto::node as wire;
use sekisho_proto::node::inspect_server::Inspect;
use sekisho_proto::{entry_to_wire, selectors_from_wire, selectors_to_wire};
use sekisho_runtime::{dangers, now};
use sekisho_types::SelectorSet;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::core::Core;

/// Entries that are shown when none matches.
const SHOWN: usize = 3;

pub(crate) struct Service(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl Inspect for Service {
    async fn why_identity(
        &self,
        request: Request<wire::WhyIdentityRequest>,
    ) -> Result<Response<wire::WhyIdentityResponse>, Status> {
        let caller = self.operator(&request)?;
        let request = request.into_inner();
        let selectors = if request.pid > 0 {
            let process = Process::open(request.pid).map_err(|e| Status::not_found(e.to_string()))?;
            let owner = process.owner().map_err(|e| Status::not_found(e.to_string()))?;
            let not_theirs = || Status::permission_denied("only root asks about another user's process");
            if caller.uid != 0 && caller.uid != owner {
                return Err(not_theirs());
            }
            let (measured, _) = self.0.host.measure(owner, Arc::new(process), |process| process).await?;
            // It may have become another's meanwhile.
            if caller.uid != 0 && caller.uid != measured.uid {
                return Err(not_theirs());
            }
            measured.selectors
        } else {
            selectors_from_wire(&request.selectors).map_err(|e| Status::invalid_argument(e.to_string()))?
        };
        Ok(Response::new(self.why(&selectors)))
    }

    async fn status(&self, request: Request<wire::StatusRequest>) -> Result<Response<wire::StatusResponse>, Status> {
        self.operator(&request)?;
        let own = self.0.upstream.own();
        let (revision, policy_revision, entries) = self.0.server_state.read(|state| {
            (state.revision, state.policy.as_ref().map_or(0, |policy| policy.revision), state.entries.len())
        });
        let (spooled_records, lost_records) = self.0.journal.spool.depth();
        let cached = self.0.svids.len();
        Ok(Response::new(wire::StatusResponse {
            agent_id: own.id.to_string(),
            server: self.0.upstream.address.clone(),
            connected: self.0.upstream.is_connected(),
            revision,
            required_revision: *self.0.server_state.required.borrow(),
            policy_revision,
            entries: u32::try_from(entries).unwrap_or(u32::MAX),
            cached_svids: u32::try_from(cached).unwrap_or(u32::MAX),
            streams: self.0.limits.streams.count(),
            spooled_records,
            lost_records,
            sealed_by: self.0.cache.sealed_by().as_str().to_owned(),
            dangers: dangers().into_iter().map(str::to_owned).collect(),
            svid_expires_at: own.not_after.seconds(),
            data_folder: self
                .0
                .journal
                .spool
                .folder()
                .parent()
                .unwrap_or(std::path::Path::new("/"))
                .display()
                .to_string(),
        }))
    }
}

fn difference(difference: &Difference) -> wire::why_identity_response::Difference {
    wire::why_identity_response::Difference {
        wants: difference.wants.to_string(),
        found: difference.found.iter().map(ToString::to_string).collect(),
    }
}

impl Service {
    fn why(&self, found: &SelectorSet) -> wire::WhyIdentityResponse {
        let agent_id = self.0.upstream.own().id.to_string();
        let selectors = selectors_to_wire(found);
        let mut response = wire::WhyIdentityResponse { selectors, agent_id, ..Default::default() };
        self.0.server_state.read(|state| {
            let entries = state.entries.values().map(AsRef::as_ref);
            response.matched = matches(entries.clone(), found, now()).into_iter().map(entry_to_wire).collect();
            if !response.matched.is_empty() {
                return;
            }
            let mut near = near(entries, found, now(), SHOWN).into_iter();
            if let Some(nearest) = near.next() {
                response.nearest = Some(entry_to_wire(nearest.entry));
                response.nearest_expired = nearest.expired;
                response.differences = nearest.differences.iter().map(difference).collect();
            }
            response.others = near.map(|near| entry_to_wire(near.entry)).collect();
        });
        response
    }

    /// Entries name other workloads, so only root and the agent's own user may look.
    fn operator<T>(&self, request: &Request<T>) -> Result<Arc<Caller>, Status> {
        let caller = Caller::of(request)?;
        if caller.uid == 0 || caller.uid == self.0.host.own_uid {
            return Ok(caller);
        }
        Err(Status::permission_denied("only root and the agent's own user may inspect it"))
    }
}
