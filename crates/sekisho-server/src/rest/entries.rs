use std::sync::Arc;

use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::{Extension, Json};
use sekisho_api::{EntriesQuery, EntryForm, EntryList, UpdateQuery};
use sekisho_identity::{Entry, is_for_any_user, loosened};
use sekisho_types::{EntryId, SpiffeId};

use super::problem::Refused;
use crate::caller::Operator;
use crate::commands::{CreateEntries, DeleteEntry, UpdateEntry};
use crate::executor::Call;
use crate::queries::{ListEntries, Listed, ShowEntry};
use crate::registration::{RegistrationError, new_entry_id};

fn parse_id(text: &str) -> Result<EntryId, Refused> {
    EntryId::parse(text).map_err(|e| Refused::invalid(e.to_string()))
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/entries", operation_id = "list_entries", params(EntriesQuery),
    responses((status = 200, body = EntryList))))]
pub(super) async fn list(
    Extension(call): Extension<Call<Operator>>,
    Query(query): Query<EntriesQuery>,
) -> Result<Json<EntryList>, Refused> {
    let parse = |text: Option<&str>| text.map(SpiffeId::parse).transpose().map_err(|e| Refused::invalid(e.to_string()));
    let (spiffe_id, parent_id) = (parse(query.spiffe_id.as_deref())?, parse(query.parent_id.as_deref())?);
    let after = query.after.as_deref().map(parse_id).transpose()?;
    let limit = query.limit.unwrap_or(1000).clamp(1, 1000);
    let admits = |entry: &Entry| query.danger_any_user.is_none_or(|any| is_for_any_user(&entry.selectors) == any);
    let page = call.ask(ListEntries { listed: Listed { spiffe_id, parent_id, admits }, after, limit }).await;
    let entries = page.entries.iter().map(|entry| EntryForm::from(entry.as_ref())).collect();
    Ok(Json(EntryList { entries, next: page.next.map(|id| id.as_str().to_owned()) }))
}

#[cfg_attr(test, utoipa::path(post, path = "/v1/entries", operation_id = "create_entry", request_body = EntryForm,
    responses((status = 201, body = EntryForm),
     (status = 400, body = sekisho_api::Problem),
     (status = 409, body = sekisho_api::Problem))))]
pub(super) async fn create(
    Extension(call): Extension<Call<Operator>>,
    Json(form): Json<EntryForm>,
) -> Result<(StatusCode, Json<EntryForm>), Refused> {
    let id = new_entry_id().ok_or_else(|| Refused::unavailable(&"no id"))?;
    let entry = form.to_entry(&id)?;
    let created = create_one(&call, entry).await?;
    Ok((StatusCode::CREATED, Json(EntryForm::from(created.as_ref()))))
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/entries/{id}", operation_id = "show_entry",
    responses((status = 200, body = EntryForm), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn show(
    Extension(call): Extension<Call<Operator>>,
    Path(id): Path<String>,
) -> Result<Json<EntryForm>, Refused> {
    let id = parse_id(&id)?;
    let found = call.ask(ShowEntry(id.clone())).await;
    let entry =
        found.ok_or_else(|| Refused::not_found(format!("no entry `{id}`; list them with `sekisho entry list`")))?;
    Ok(Json(EntryForm::from(entry.as_ref())))
}

#[cfg_attr(test, utoipa::path(put, path = "/v1/entries/{id}", operation_id = "update_entry",
    request_body = EntryForm, params(UpdateQuery),
    responses((status = 409, body = sekisho_api::Problem),
     (status = 200, body = EntryForm),
     (status = 400, body = sekisho_api::Problem),
     (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn update(
    Extension(call): Extension<Call<Operator>>,
    Path(id): Path<String>,
    Query(query): Query<UpdateQuery>,
    Json(form): Json<EntryForm>,
) -> Result<Json<EntryForm>, Refused> {
    let id = parse_id(&id)?;
    let entry = form.to_entry(&id)?;
    let updated = call.execute(UpdateEntry { id, change: |old: &Entry| allowed(&query, old, entry.clone()) }).await?;
    Ok(Json(EntryForm::from(updated.as_ref())))
}

/// `new`, if `old` may become that.
fn allowed(query: &UpdateQuery, old: &Entry, new: Entry) -> Result<Entry, RegistrationError> {
    if query.if_revision.is_some_and(|revision| revision != old.revision_number) {
        return Err(RegistrationError::ChangedMeanwhile(new.id));
    }
    let mut given_up = loosened(&old.selectors, &new.selectors);
    given_up.extend((old.tpm_key && !new.tpm_key).then(|| "a key in the TPM of the node".to_owned()));
    if !given_up.is_empty() && !query.danger_loosen {
        return Err(RegistrationError::Loosens(given_up.join(", ")));
    }
    if !given_up.is_empty() {
        tracing::warn!(entry = %new.id, given_up = given_up.join(", "), "danger: an entry asks for less than before");
    }
    Ok(new)
}

#[cfg_attr(test, utoipa::path(delete, path = "/v1/entries/{id}", operation_id = "delete_entry",
    responses((status = 204), (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn delete(
    Extension(call): Extension<Call<Operator>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refused> {
    call.execute(DeleteEntry { id: parse_id(&id)? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn create_one(call: &Call<Operator>, entry: Entry) -> Result<Arc<Entry>, Refused> {
    let created = call.execute_all(CreateEntries { entries: vec![entry] }).await?.pop();
    Ok(created.ok_or_else(|| Refused::unavailable(&"an entry was not answered"))??)
}
