//! What operators follow: the server sends it when it happens.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use sekisho_api::{ChangesForm, ChangesQuery};

use super::decisions::form;
use super::problem::Refused;
use crate::caller::Operator;
use crate::executor::Call;
use crate::followers::Arrived;
use crate::queries::{AwaitChange, FollowDecisions, Followed, Following};

#[cfg_attr(test, utoipa::path(get, path = "/v1/decisions/follow", operation_id = "follow_decisions", responses(
    (status = 200, body = sekisho_api::DecisionForm, content_type = "application/jsonl",
        description = "A line for each record that arrives from now on. A line may be empty, or be \
            `{\"missed_batches\": n}` when records came faster than they were read"),
    (status = 429, body = sekisho_api::Problem))))]
pub(super) async fn decisions(Extension(call): Extension<Call<Operator>>) -> Result<Response, Refused> {
    let following = call.ask(FollowDecisions).await?;
    let lines = futures_util::stream::unfold(following, |mut following: Following| async move {
        let followed = following.next().await?;
        Some((Ok::<_, Infallible>(line(&followed)), following))
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}

fn line(followed: &Followed) -> Bytes {
    match followed {
        Followed::Arrived(batch) => lines(batch),
        Followed::Missed(batches) => format!("{{\"missed_batches\":{batches}}}\n").into(),
        Followed::Quiet => Bytes::from_static(b"\n"),
    }
}

fn lines(batch: &Arrived) -> Bytes {
    let mut out = Vec::new();
    for kept in &batch.records {
        // A form is written whole or not at all.
        if let Ok(line) = serde_json::to_vec(&form(kept, batch.log_index)) {
            out.extend(line);
            out.push(b'\n');
        }
    }
    out.into()
}

#[cfg_attr(test, utoipa::path(get, path = "/v1/changes", operation_id = "follow_changes",
    params(ChangesQuery), responses(
    (status = 200, body = ChangesForm, description = "at once if `after` is not the present `sequence`, else at the \
        next change, and after 30 s without one"))))]
pub(super) async fn changes(
    Extension(call): Extension<Call<Operator>>,
    Query(query): Query<ChangesQuery>,
) -> Result<Json<ChangesForm>, Refused> {
    let changed = match call.ask(AwaitChange { after: query.after }).await {
        Ok(changed) => changed,
        Err(denied) => return Err(call.refuse(denied).await.into()),
    };
    Ok(Json(ChangesForm {
        sequence: changed.sequence,
        revision: changed.revision.0,
        policy_revision: changed.policy_revision,
        policy_folder_refused: changed.policy_folder_refused,
    }))
}
