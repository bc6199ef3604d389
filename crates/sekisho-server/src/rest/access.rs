//! Who may use the REST API (design: "REST is authenticated").

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Refused;
use crate::admission::{Admission, LONGEST};
use crate::denied::Denied;
use crate::domain::Shared;
use crate::executor::Connection;
use crate::roles;

/// Lets through whom the role table names, operators with their call as an extension; refuses browsers of other origins
/// and names that are not this server's (DNS rebinding).
pub(super) async fn check(State(domain): State<Shared>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    // A path without a route is answered as such.
    let Some(path) = path else { return next.run(request).await };
    let connection = Connection::of(&domain, request.extensions());
    let is_own = is_own_host(request.headers());
    let admission = match roles::of_route(request.method().as_str(), &path) {
        None => Err(connection.refuse(Denied::NoRow).await),
        Some(role) => match Admission::begin(&connection, role).await {
            Ok(admission) if admission.is_for_operator() && !is_own => Err(connection.refuse(Denied::Host).await),
            admission => admission,
        },
    };
    let is_operator = admission.as_ref().is_ok_and(Admission::is_for_operator);
    let entered = match admission {
        Ok(admission) => admission.finish(&mut request, Some(LONGEST)).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = entered {
        return Refused::from(refusal).into_response();
    }
    let says = format!("{} {path}", request.method());
    let answer = next.run(request).await;
    // What cannot be read does not come as far as a command.
    if is_operator && !connection.has_record() && answer.status().is_client_error() {
        let refused = connection.refuse(Refused::new(answer.status(), says)).await.into_error();
        if refused.is_ours() {
            return refused.into_response();
        }
    }
    answer
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
