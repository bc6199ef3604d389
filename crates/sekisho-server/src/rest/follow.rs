//! What operators follow: the server sends it when it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use sekisho_api::{ChangesForm, ChangesQuery};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::decisions::form;
use super::problem::Refused;
use crate::caller::{Caller, Operator};
use crate::executor::Call;
use crate::followers::Arrived;

/// After this time without a record an empty line is sent, so that a connection that is gone is noticed.
const QUIET: Duration = Duration::from_secs(15);
/// How long a caller waits for a change.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg_attr(test, utoipa::path(get, path = "/v1/decisions/follow", responses(
    (status = 200, body = sekisho_api::DecisionForm, content_type = "application/jsonl",
        description = "A line for each record that arrives from now on. A line may be empty, or be \
            `{\"missed_batches\": n}` when records came faster than they were read"),
    (status = 429, body = sekisho_api::Problem))))]
pub(super) async fn decisions(Extension(call): Extension<Call<Operator>>) -> Result<Response, Refused> {
    let Some(arrivals) = call.domain().streams.followers.records() else {
        return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many follow decisions already; try again later"));
    };
    let lines = futures_util::stream::unfold((call, arrivals), |(call, mut arrivals)| async move {
        let line = next(&call, &mut arrivals).await?;
        Some((Ok::<_, Infallible>(line), (call, arrivals)))
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}

/// What is sent next. Nothing more is when the server stops, or when the caller is not an operator any more (law L12).
async fn next(call: &Call<Operator>, arrivals: &mut Receiver<Arc<Arrived>>) -> Option<Bytes> {
    let domain = call.domain();
    let arrived = tokio::select! {
        biased;
        () = domain.watch.tasks.stop().wait() => return None,
        arrived = tokio::time::timeout(QUIET, arrivals.recv()) => arrived,
    };
    call.caller.stands(&domain.view).ok()?;
    match arrived {
        Err(_quiet) => Some(Bytes::from_static(b"\n")),
        Ok(Ok(batch)) => Some(lines(&batch)),
        Ok(Err(RecvError::Lagged(missed))) => Some(format!("{{\"missed_batches\":{missed}}}\n").into()),
        Ok(Err(RecvError::Closed)) => None,
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

#[cfg_attr(test, utoipa::path(get, path = "/v1/changes", params(ChangesQuery), responses(
    (status = 200, body = ChangesForm, description = "at once if `after` is not the present `sequence`, else at the \
        next change, and after 30 s without one"))))]
pub(super) async fn changes(
    Extension(call): Extension<Call<Operator>>,
    Query(query): Query<ChangesQuery>,
) -> Result<Json<ChangesForm>, Refused> {
    let domain = call.domain();
    let mut changes = domain.streams.followers.changes();
    if query.after == Some(*changes.borrow_and_update()) {
        tokio::select! {
            biased;
            () = domain.watch.tasks.stop().wait() => {}
            _changed = tokio::time::timeout(PATIENCE, changes.changed()) => {}
        }
        if let Err(denied) = call.caller.stands(&domain.view) {
            return Err(call.refuse(denied).await.into());
        }
    }
    let sequence = *changes.borrow();
    let refused = domain.watch.policy_folder_refused.lock();
    let policy_folder_refused = refused.unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    Ok(Json(domain.view.read(|state| ChangesForm {
        sequence,
        revision: state.revision.0,
        policy_revision: state.policy.as_ref().map(|policy| policy.revision),
        policy_folder_refused,
    })))
}
