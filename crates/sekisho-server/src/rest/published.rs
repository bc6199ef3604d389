//! The log as c2sp.org/tlog-tiles serves it: checkpoint, tiles, entry bundles. Leaves hold commitments; what opens them is
//! never served here (decisions/0019).

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sekisho_ledger::TileRequest;
use tokio::sync::Semaphore;

use crate::domain::Shared;

/// Reads at once: a bundle has up to 16 MiB, and anybody may ask.
const READS: usize = 8;
static READING: Semaphore = Semaphore::const_new(READS);
/// The longest path of a tile is shorter.
const MAX_PATH: usize = 64;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/checkpoint", get(checkpoint)).route("/tile/{*path}", get(tile))
}

/// The newest checkpoint or, where witnesses are configured, the newest that they have cosigned.
async fn checkpoint(State(domain): State<Shared>) -> Response {
    let Some((_, note)) = domain.published_checkpoint() else {
        return not_found("no checkpoint has enough cosignatures yet");
    };
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, note.to_string()).into_response()
}

async fn tile(State(domain): State<Shared>, Path(path): Path<String>) -> Response {
    let request = Some(path).filter(|path| path.len() <= MAX_PATH).and_then(|path| TileRequest::parse(&path));
    let Some(request) = request else { return not_found("there is no such tile") };
    let Ok(_reading) = READING.try_acquire() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response();
    };
    let read = tokio::task::spawn_blocking(move || domain.ledger.published(&request)).await;
    let Ok(Some(bytes)) = read else { return not_found("the log has nothing of this tile") };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, bytes).into_response()
}

fn not_found(why: &'static str) -> Response {
    (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, "no-store")], why).into_response()
}
