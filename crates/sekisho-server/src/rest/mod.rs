//! The REST API: the one that operators use, by CLI or console. Its OpenAPI document is generated from this code.

mod access;
mod agents;
mod decisions;
mod entries;
mod follow;
mod metrics;
mod policy;
mod probes;
mod problem;
mod proofs;
mod published;
mod revocations;
mod state;
mod tokens;

use axum::routing::get;
use axum::{Extension, Json, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Domains, Shared};
use crate::door::LONGEST;

#[derive(OpenApi)]
#[openapi(info(
    title = "Sekisho",
    version = "1",
    description = "Administration of a Sekisho server. On the local Unix socket the caller is known by its user id; over TCP by mTLS \
                   with an SVID whose entry is `admin`."
))]
struct Document;

fn open_api_router() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(entries::list, entries::create))
        .routes(routes!(entries::show, entries::update, entries::delete))
        .routes(routes!(agents::list, agents::evict))
        .routes(routes!(agents::ban))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(revocations::list, revocations::create))
        .routes(routes!(state::bundle))
        .routes(routes!(state::health))
        .routes(routes!(state::identities))
        .routes(routes!(policy::show, policy::apply))
        .routes(routes!(decisions::list))
        .routes(routes!(decisions::show))
        .routes(routes!(follow::decisions))
        .routes(routes!(follow::changes))
        .routes(routes!(proofs::prove))
        .routes(routes!(proofs::log))
        .routes(routes!(proofs::consistency))
        .routes(routes!(metrics::metrics))
}

/// The OpenAPI 3.1 document.
pub fn openapi_document() -> String {
    open_api_router().into_openapi().to_pretty_json().unwrap_or_default()
}

/// The routes of a domain. `all` is what the server serves beside it, for those who watch the server.
pub(crate) fn routes(domain: &Shared, all: &Domains) -> Router {
    let (router, document) = open_api_router().split_for_parts();
    router
        .merge(published::routes())
        .route("/openapi.json", get(async move || Json(document)))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .layer(axum::middleware::from_fn_with_state(domain.clone(), access::check))
        .layer(Extension(all.clone()))
        .layer(axum::extract::DefaultBodyLimit::max(LONGEST))
        .with_state(domain.clone())
}

#[cfg(test)]
mod tests {
    /// Clients are generated from it: it changes knowingly, by `sekisho openapi >docs/openapi.json`.
    #[test]
    fn the_openapi_document_is_the_stored_one() {
        let stored = include_str!("../../../../docs/openapi.json");
        assert_eq!(super::openapi_document().trim_end(), stored.trim_end());
    }
}
