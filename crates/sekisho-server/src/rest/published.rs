//! The log as c2sp.org/tlog-tiles serves it: checkpoint, tiles, entry bundles. Leaves hold commitments; what opens them
//! is never served here (decisions/0019).

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use sekisho_ledger::TileRequest;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::caller::LogReader;
use crate::executor::Call;
use crate::queries::{Checkpoint, Tile};

/// Reads at once: a bundle has up to 16 MiB, and every caller is answered.
static READING: Semaphore = Semaphore::const_new(8);
/// What may wait to be sent at once, in units of 64 KiB: readers that do not read cost 64 MiB at most.
static SENDING: Semaphore = Semaphore::const_new(1024);
const UNIT: usize = 64 * 1024;
/// A chunk is taken when the connection has sent the one before.
const CHUNK: usize = 16 * 1024;
/// The longest path of a tile is shorter.
const MAX_PATH: usize = 64;

pub(super) fn routes() -> Router {
    Router::new().route("/checkpoint", get(checkpoint)).route("/tile/{*path}", get(tile))
}

async fn checkpoint(Extension(call): Extension<Call<LogReader>>) -> Response {
    let Some(note) = call.ask(Checkpoint).await else {
        return not_found("no checkpoint has enough cosignatures yet");
    };
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, note.to_string()).into_response()
}

async fn tile(Extension(call): Extension<Call<LogReader>>, Path(path): Path<String>) -> Response {
    let request = Some(path).filter(|path| path.len() <= MAX_PATH).and_then(|path| TileRequest::parse(&path));
    let Some(request) = request else { return not_found("there is no such tile") };
    let busy = || (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response();
    let Ok(_reading) = READING.try_acquire() else { return busy() };
    let Some(bytes) = call.ask(Tile(request)).await else { return not_found("the log has nothing of this tile") };
    let units = u32::try_from(bytes.len() / UNIT + 1).unwrap_or(u32::MAX);
    let Ok(sending) = SENDING.try_acquire_many(units) else { return busy() };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CONTENT_LENGTH, bytes.len().to_string()),
    ];
    (headers, body(bytes.into(), sending)).into_response()
}

/// A body that holds its share of what may wait until it is sent or its reader is gone.
fn body(bytes: Bytes, sending: SemaphorePermit<'static>) -> Body {
    Body::from_stream(futures_util::stream::unfold(
        (bytes, sending),
        |(mut rest, sending): (Bytes, SemaphorePermit<'static>)| async move {
            let chunk = rest.split_to(rest.len().min(CHUNK));
            (!chunk.is_empty()).then_some((Ok::<_, Infallible>(chunk), (rest, sending)))
        },
    ))
}

fn not_found(why: &'static str) -> Response {
    (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, "no-store")], why).into_response()
}
