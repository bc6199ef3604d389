//! SPIRE's sync of an agent's entries. A few entries are sent whole in the first answer. Of many, the revisions are
//! sent first, and the client asks for the entries that it lacks.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use sekisho_identity::{Entry, Standing};
use sekisho_proto::spire::entry::v1 as wire;
use sekisho_proto::types::permission_denied_details::Reason;
use sekisho_proto::{entry_to_wire, reason_status, types};
use sekisho_runtime::now;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::entry_mask::masked;
use super::status::denied;
use crate::caller::AgentCaller;
use crate::domain::Shared;

/// Entries, or revisions, on one page.
const PAGE: usize = 500;

pub(super) type Pages = Pin<Box<dyn Stream<Item = Result<wire::SyncAuthorizedEntriesResponse, Status>> + Send>>;

pub(super) struct Sync {
    pub domain: Shared,
    pub agent: AgentCaller,
    pub to: mpsc::Sender<Result<wire::SyncAuthorizedEntriesResponse, Status>>,
}

impl Sync {
    /// Answers until the client ends, or the agent may have nothing more.
    pub(super) async fn run(self, mut incoming: Streaming<wire::SyncAuthorizedEntriesRequest>) {
        if let Err(status) = self.exchange(&mut incoming).await {
            let _gone = self.to.send(Err(status)).await;
        }
    }

    /// The next request. The agent is judged again whenever an agent's standing may have changed (law L12), so that an
    /// idle stream ends with a ban, too.
    async fn next(
        &self,
        incoming: &mut Streaming<wire::SyncAuthorizedEntriesRequest>,
    ) -> Result<Option<wire::SyncAuthorizedEntriesRequest>, Status> {
        let mut agents = self.domain.streams.delivery.agents();
        loop {
            self.check()?;
            tokio::select! {
                biased;
                changed = agents.changed() => if changed.is_err() { return Ok(None) },
                request = incoming.message() => return request,
            }
        }
    }

    fn check(&self) -> Result<(), Status> {
        match self.agent.standing(&self.domain) {
            Standing::Good if self.agent.not_after > now() => Ok(()),
            Standing::Good => Err(reason_status("the agent's SVID has expired", Reason::AgentExpired)),
            standing => Err(denied(standing)),
        }
    }

    /// What the agent may have at this moment: nothing is kept from one request to the next.
    fn authorized(&self) -> Vec<Arc<Entry>> {
        let id = self.agent.id.get();
        self.domain.view.read(|state| {
            let node = state.nodes.get(id);
            node.map(|node| state.authorized(node, &self.domain.identity.server_id, now())).unwrap_or_default()
        })
    }

    async fn send(
        &self,
        entry_revisions: Vec<wire::EntryRevision>,
        entries: Vec<types::Entry>,
        more: bool,
    ) -> Result<(), Status> {
        // A slow client makes this wait: it has a place first, and is judged then.
        let place = self.to.reserve().await.map_err(|_| Status::cancelled("the client went"))?;
        self.check()?;
        place.send(Ok(wire::SyncAuthorizedEntriesResponse { entry_revisions, entries, more }));
        Ok(())
    }

    async fn exchange(&self, incoming: &mut Streaming<wire::SyncAuthorizedEntriesRequest>) -> Result<(), Status> {
        let first = self.next(incoming).await?.ok_or_else(|| Status::invalid_argument("no request came"))?;
        let mask = first.output_mask;
        if !first.ids.is_empty() {
            return Err(Status::invalid_argument("the first request names no ids"));
        }
        if mask.as_ref().is_some_and(|mask| !mask.revision_number) {
            return Err(Status::invalid_argument("the output mask must keep `revision_number`"));
        }
        let wire_entry = |entry: &Arc<Entry>| masked(entry_to_wire(entry), mask.as_ref());
        let entries = self.authorized();
        if entries.len() <= PAGE {
            return self.send(vec![], entries.iter().map(wire_entry).collect(), false).await;
        }
        let pages = entries.chunks(PAGE).count();
        for (number, page) in entries.chunks(PAGE).enumerate() {
            let revisions = page.iter().map(|entry| revision(entry)).collect();
            self.send(revisions, vec![], number + 1 < pages).await?;
        }
        drop(entries);
        while let Some(request) = self.next(incoming).await? {
            let wanted: BTreeSet<&str> = request.ids.iter().map(String::as_str).collect();
            let mut found = self.authorized();
            found.retain(|entry| wanted.contains(entry.id.as_str()));
            let pages = found.chunks(PAGE).count().max(1);
            for number in 0..pages {
                let page = found.iter().skip(number * PAGE).take(PAGE).map(wire_entry).collect();
                self.send(vec![], page, number + 1 < pages).await?;
            }
        }
        Ok(())
    }
}

fn revision(entry: &Entry) -> wire::EntryRevision {
    wire::EntryRevision {
        id: entry.id.as_str().to_owned(),
        revision_number: entry.revision_number,
        created_at: entry.created_at.seconds(),
    }
}
