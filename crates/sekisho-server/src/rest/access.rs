//! Who may use the REST API (design: "REST is authenticated").

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Refused;
use crate::domain::Shared;
use crate::executor::operator_call;
use crate::roles::{self, Role};

/// Lets through whom the role table names, operators with their call as an extension; refuses browsers of other origins and
/// names that are not this server's (DNS rebinding).
pub(super) async fn check(State(domain): State<Shared>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    // A path without a route is answered as such.
    let Some(path) = path else { return next.run(request).await };
    let allowed = match roles::of_route(request.method().as_str(), &path) {
        Some(Role::Anyone) => return next.run(request).await,
        Some(Role::LogReader) if domain.settings.publish_log => return next.run(request).await,
        Some(_) if is_own_host(request.headers()) => Ok(()),
        Some(_) => Err("the `Host` or `Origin` header does not name this server"),
        None => Err("no row of the role table is for this call"),
    };
    let call = operator_call(&domain, &request, allowed);
    match call.await {
        Ok(call) => {
            request.extensions_mut().insert(call);
            next.run(request).await
        }
        Err(refusal) => Refused::from(refusal).into_response(),
    }
}

fn is_own_host(headers: &HeaderMap) -> bool {
    let own = |host: &str| {
        let name = host
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(host, |(name, _)| name);
        matches!(name, "localhost" | "127.0.0.1" | "[::1]" | "sekisho" | "sekisho.invalid")
            || name.parse::<std::net::Ipv4Addr>().is_ok()
    };
    let host = headers.get(header::HOST).map(|value| value.to_str().unwrap_or("?"));
    // No page of a browser may call this API yet; a console that is served from here will come with its own origin.
    host.is_none_or(own) && !headers.contains_key(header::ORIGIN)
}
