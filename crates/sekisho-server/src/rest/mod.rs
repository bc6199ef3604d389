//! The REST API: the one that operators use, by CLI or console. Its OpenAPI document is generated from this code.

mod access;
mod agents;
mod alerts;
mod compile;
mod decisions;
mod drills;
mod entries;
mod follow;
pub(crate) mod metrics;
mod policy;
mod probes;
mod problem;
mod proofs;
mod published;
mod revocations;
mod state;
mod tokens;
mod tpms;

use axum::http::header;
use axum::routing::{MethodRouter, get};
use axum::{Extension, Router};

use crate::admission::LONGEST;
use crate::domain::{Domains, Shared};

/// Declares each documented route once: for the router and, in tests, for the OpenAPI document.
macro_rules! routes {
    ($($path:literal => $($method:ident $module:ident::$handler:ident)+,)*) => {
        fn documented() -> Router {
            Router::new()$(.route($path, MethodRouter::new()$(.$method($module::$handler))+))*
        }

        #[cfg(test)]
        #[derive(utoipa::OpenApi)]
        #[openapi(
            info(
                title = "Sekisho",
                version = "1",
                description = "Administration of a Sekisho server. On the local Unix socket the caller is known by its \
                               user id; over TCP by mTLS with an SVID whose entry is `admin`."
            ),
            paths($($($module::$handler),+),*)
        )]
        struct Document;
    };
}

routes! {
    "/v1/entries" => get entries::list post entries::create,
    "/v1/entries/{id}" => get entries::show put entries::update delete entries::delete,
    "/v1/agents" => get agents::list delete agents::evict,
    "/v1/alerts" => get alerts::list,
    "/v1/agents/attest" => post agents::attest,
    "/v1/agents/ban" => post agents::ban,
    "/v1/agents/evidence" => get agents::evidence,
    "/v1/drills" => post drills::run,
    "/v1/tpms" => get tpms::list post tpms::approve delete tpms::revoke,
    "/v1/tokens" => get tokens::list post tokens::create,
    "/v1/tokens/{id}" => delete tokens::revoke,
    "/v1/revocations" => get revocations::list post revocations::create,
    "/v1/bundle" => get state::bundle,
    "/v1/health" => get state::health,
    "/v1/identities" => get state::identities,
    "/v1/policy" => get policy::show put policy::apply,
    "/v1/compile" => post compile::compile,
    "/v1/decisions" => get decisions::list,
    "/v1/decisions/{id}" => get decisions::show,
    "/v1/decisions/follow" => get follow::decisions,
    "/v1/changes" => get follow::changes,
    "/v1/proofs/{id}" => get proofs::prove,
    "/v1/log" => get proofs::log,
    "/v1/log/consistency/{old_size}/{new_size}" => get proofs::consistency,
    "/metrics" => get metrics::metrics,
}

/// The OpenAPI 3.1 document. It is generated in tests, so that a build needs no generator.
pub const OPENAPI_DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

/// The routes of a domain. `all` is what the server serves beside it, for those who watch the server.
pub(crate) fn routes(domain: &Shared, all: &Domains) -> Router {
    documented()
        .merge(published::routes())
        .route("/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], OPENAPI_DOCUMENT)))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .layer(axum::middleware::from_fn_with_state(domain.clone(), access::check))
        .layer(Extension(all.clone()))
        .layer(axum::extract::DefaultBodyLimit::max(LONGEST))
}

#[cfg(test)]
mod tests {
    use utoipa::OpenApi;

    use super::*;

    /// Clients are generated from it: it changes knowingly, by `cargo xtask gen`.
    #[test]
    fn openapi_document_is_current() {
        let generated = Document::openapi().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("SEKISHO_WRITE_OPENAPI").is_some() {
            std::fs::write("../../docs/openapi.json", &generated).unwrap();
            return;
        }
        assert_eq!(generated, OPENAPI_DOCUMENT);
    }

    /// OpenAPI 3.1.1, section 4.8.10.1: tools name a client's functions by them.
    #[test]
    fn operation_ids_are_unique() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI_DOCUMENT).unwrap();
        let paths = document["paths"].as_object().unwrap().values();
        let operations = paths.flat_map(|path| path.as_object().unwrap().values());
        let mut ids: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), count > 20), (count, true), "{ids:?}");
    }
}
