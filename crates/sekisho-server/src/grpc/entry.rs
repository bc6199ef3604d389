use std::sync::Arc;

use sekisho_identity::Entry;
use sekisho_proto::spire::entry::v1 as wire;
use sekisho_proto::{entry_from_wire, entry_to_wire, id_from_wire, selectors_from_wire, types};
use sekisho_types::{EntryId, SelectorSet};
use tonic::{Request, Response, Status, Streaming};

use super::admission::{answer, call};
use super::entry_mask::{FULL, masked, merged};
use super::entry_sync::{Pages, Sync};
use super::status::result_to_wire;
use super::streams::recorded;
use super::svid::entry_id;
use crate::caller::{AgentCaller, Operator};
use crate::commands::{CreateEntries, DeleteEntry, UpdateEntry};
use crate::executor::Call;
use crate::queries::{AuthorizedEntries, CountEntries, ListEntries, Listed, ShowEntry};
use crate::refusal::Refusal;
use crate::registration::{self, RegistrationError};

const MAX_LIST: usize = 1000;

pub(crate) struct Service;

#[tonic::async_trait]
impl wire::entry_server::Entry for Service {
    async fn count_entries(
        &self,
        request: Request<wire::CountEntriesRequest>,
    ) -> Result<Response<wire::CountEntriesResponse>, Status> {
        let call = call::<Operator, _>(&request)?;
        let count = call.ask(CountEntries(Filter::from_wire(request.into_inner().filter)?.listed())).await;
        Ok(Response::new(wire::CountEntriesResponse { count: i32::try_from(count).unwrap_or(i32::MAX) }))
    }

    async fn list_entries(
        &self,
        request: Request<wire::ListEntriesRequest>,
    ) -> Result<Response<wire::ListEntriesResponse>, Status> {
        let call = call::<Operator, _>(&request)?;
        let request = request.into_inner();
        let listed = Filter::from_wire(request.filter)?.listed();
        let limit = match usize::try_from(request.page_size) {
            Ok(0) => MAX_LIST,
            Ok(size) => size.min(MAX_LIST),
            Err(_) => return Err(Status::invalid_argument("`page_size` is negative")),
        };
        let after = match request.page_token.as_str() {
            "" => None,
            token => {
                Some(EntryId::parse(token).map_err(|_| Status::invalid_argument("`page_token` is not one of ours"))?)
            }
        };
        let page = call.ask(ListEntries { listed, after, limit }).await;
        let entries = page.entries.iter().map(|entry| masked(entry_to_wire(entry), request.output_mask.as_ref()));
        let next_page_token = page.next.map(|id| id.as_str().to_owned()).unwrap_or_default();
        Ok(Response::new(wire::ListEntriesResponse { entries: entries.collect(), next_page_token }))
    }

    async fn get_entry(&self, request: Request<wire::GetEntryRequest>) -> Result<Response<types::Entry>, Status> {
        let call = call::<Operator, _>(&request)?;
        let request = request.into_inner();
        let id = entry_id(&request.id)?;
        let found = call.ask(ShowEntry(id.clone())).await;
        let entry = found.ok_or_else(|| Status::not_found(format!("no entry `{id}`")))?;
        Ok(Response::new(masked(entry_to_wire(&entry), request.output_mask.as_ref())))
    }

    async fn batch_create_entry(
        &self,
        request: Request<wire::BatchCreateEntryRequest>,
    ) -> Result<Response<wire::BatchCreateEntryResponse>, Status> {
        let call = call::<Operator, _>(&request)?;
        let request = request.into_inner();
        check_count(request.entries.len())?;
        let mut results: Vec<Option<Status>> = vec![];
        let mut entries = Vec::with_capacity(request.entries.len());
        for wire_entry in &request.entries {
            let id = registration::new_entry_id().ok_or_else(|| Status::internal("no id"))?;
            match entry_from_wire(wire_entry, &id, None) {
                Ok(entry) => {
                    entries.push(entry);
                    results.push(None);
                }
                Err(error) => results.push(Some(Status::invalid_argument(error.to_string()))),
            }
        }
        let created = call.execute_all(CreateEntries { entries }).await;
        let mut created = created.map_err(Refusal::into_error)?.into_iter();
        let mut answered = Vec::with_capacity(results.len());
        for unread in results {
            let result = match unread {
                Some(status) => (Err(call.refuse(status).await.into_error()), None),
                None => created.next().map_or_else(
                    || (Err(Status::internal("an entry was not answered")), None),
                    |created| with_existing(created.map_err(Refusal::into_error)),
                ),
            };
            answered.push(result);
        }
        let results = answered.into_iter().map(|(result, existing)| {
            let mask = request.output_mask.as_ref();
            let (status, entry) = to_result(result, mask);
            // An entry of the same identity, parent and selectors is answered with the one that exists, as SPIRE does.
            let entry = entry.or_else(|| existing.map(|existing| masked(entry_to_wire(&existing), mask)));
            wire::batch_create_entry_response::Result { status: Some(status), entry }
        });
        Ok(Response::new(wire::BatchCreateEntryResponse { results: results.collect() }))
    }

    async fn batch_update_entry(
        &self,
        request: Request<wire::BatchUpdateEntryRequest>,
    ) -> Result<Response<wire::BatchUpdateEntryResponse>, Status> {
        let call = call::<Operator, _>(&request)?;
        let request = request.into_inner();
        check_count(request.entries.len())?;
        let mut results = Vec::new();
        for wire_entry in request.entries {
            let result = update(&call, &wire_entry, request.input_mask).await;
            let (status, entry) = to_result(result, request.output_mask.as_ref());
            results.push(wire::batch_update_entry_response::Result { status: Some(status), entry });
        }
        Ok(Response::new(wire::BatchUpdateEntryResponse { results }))
    }

    async fn batch_delete_entry(
        &self,
        request: Request<wire::BatchDeleteEntryRequest>,
    ) -> Result<Response<wire::BatchDeleteEntryResponse>, Status> {
        let call = call::<Operator, _>(&request)?;
        let ids = request.into_inner().ids;
        check_count(ids.len())?;
        let deletions = ids.into_iter().map(|id| {
            let call = &call;
            async move {
                let (status, _) = result_to_wire(answer(call, entry_id(&id).map(|id| DeleteEntry { id })).await);
                wire::batch_delete_entry_response::Result { status: Some(status), id }
            }
        });
        let results = futures_util::future::join_all(deletions).await;
        Ok(Response::new(wire::BatchDeleteEntryResponse { results }))
    }

    async fn get_authorized_entries(
        &self,
        request: Request<wire::GetAuthorizedEntriesRequest>,
    ) -> Result<Response<wire::GetAuthorizedEntriesResponse>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        let (mask, entries) = (request.into_inner().output_mask, call.ask(AuthorizedEntries).await);
        let entries = entries.iter().map(|e| masked(entry_to_wire(e), mask.as_ref())).collect();
        Ok(Response::new(wire::GetAuthorizedEntriesResponse { entries }))
    }

    type SyncAuthorizedEntriesStream = Pages;

    async fn sync_authorized_entries(
        &self,
        request: Request<Streaming<wire::SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<Pages>, Status> {
        let call = call::<AgentCaller, _>(&request)?;
        let (to, pages) = tokio::sync::mpsc::channel(4);
        let sync = Sync { domain: call.domain().clone(), agent: call.caller.clone(), to };
        tokio::spawn(sync.run(request.into_inner()));
        Ok(Response::new(recorded(call, tokio_stream::wrappers::ReceiverStream::new(pages))))
    }
}

async fn update(
    call: &Call<Operator>,
    wire_entry: &types::Entry,
    mask: Option<types::EntryMask>,
) -> Result<Arc<Entry>, Status> {
    let mask = mask.unwrap_or(FULL);
    let change = |known: &Entry| {
        // Fields outside the mask are those of the entry as it stands in this very write.
        let merged = merged(entry_to_wire(known), wire_entry, &mask);
        entry_from_wire(&merged, &known.id, Some(known)).map_err(|e| RegistrationError::Form(e.to_string()))
    };
    answer(call, entry_id(&wire_entry.id).map(|id| UpdateEntry { id, change })).await
}

/// An entry that was created, or why not, with the one that exists in its place.
type Created = (Result<Arc<Entry>, Status>, Option<Arc<Entry>>);

fn with_existing(created: Result<Arc<Entry>, RegistrationError>) -> Created {
    let existing = match &created {
        Err(RegistrationError::Exists(existing)) => Some(existing.clone()),
        _ => None,
    };
    (created.map_err(Status::from), existing)
}

fn check_count(count: usize) -> Result<(), Status> {
    if count > MAX_LIST {
        Err(Status::invalid_argument(format!("a batch has at most {MAX_LIST} entries")))
    } else {
        Ok(())
    }
}

fn to_result(
    result: Result<Arc<Entry>, Status>,
    mask: Option<&types::EntryMask>,
) -> (types::Status, Option<types::Entry>) {
    result_to_wire(result.map(|entry| masked(entry_to_wire(&entry), mask)))
}

/// SPIRE's filters; all that are set must admit the entry.
struct Filter {
    spiffe_id: Option<sekisho_types::SpiffeId>,
    parent_id: Option<sekisho_types::SpiffeId>,
    selectors: Option<(SelectorSet, types::selector_match::MatchBehavior)>,
    hint: Option<String>,
    downstream: Option<bool>,
}

impl Filter {
    fn from_wire(filter: Option<wire::Filter>) -> Result<Self, Status> {
        let filter = filter.unwrap_or_default();
        let invalid = |e: sekisho_proto::ConvertError| Status::invalid_argument(e.to_string());
        let id = |id: Option<&types::Spiffeid>, field| id.map(|id| id_from_wire(Some(id), field)).transpose();
        let selectors = filter.by_selectors.as_ref().map(|by| {
            let behaviour = types::selector_match::MatchBehavior::try_from(by.r#match)
                .map_err(|_| Status::invalid_argument("`by_selectors.match` is unknown"))?;
            Ok::<_, Status>((selectors_from_wire(&by.selectors).map_err(invalid)?, behaviour))
        });
        if filter.by_federates_with.is_some() {
            return Err(Status::unimplemented("entries cannot be listed by federation yet"));
        }
        Ok(Self {
            spiffe_id: id(filter.by_spiffe_id.as_ref(), "by_spiffe_id").map_err(invalid)?,
            parent_id: id(filter.by_parent_id.as_ref(), "by_parent_id").map_err(invalid)?,
            selectors: selectors.transpose()?,
            hint: filter.by_hint,
            downstream: filter.by_downstream,
        })
    }

    fn listed(self) -> Listed<impl Fn(&Entry) -> bool> {
        let (spiffe_id, parent_id) = (self.spiffe_id.clone(), self.parent_id.clone());
        Listed { spiffe_id, parent_id, admits: move |entry: &Entry| self.admits(entry) }
    }

    fn admits(&self, entry: &Entry) -> bool {
        use types::selector_match::MatchBehavior as By;
        let selectors = self.selectors.as_ref().is_none_or(|(wanted, by)| match by {
            By::MatchExact => entry.selectors == *wanted,
            By::MatchSubset => !entry.selectors.is_empty() && entry.selectors.is_subset(wanted),
            By::MatchSuperset => entry.selectors.is_superset(wanted),
            By::MatchAny => !entry.selectors.is_disjoint(wanted),
        });
        selectors
            && self.spiffe_id.as_ref().is_none_or(|id| *id == entry.spiffe_id)
            && self.parent_id.as_ref().is_none_or(|id| *id == entry.parent_id)
            && self.hint.as_ref().is_none_or(|hint| *hint == entry.hint)
            && self.downstream.is_none_or(|flag| flag == entry.downstream)
    }
}
