//! Who may use the REST API (design: "REST is authenticated").

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sekisho_net::{TlsPeer, UnixPeer};

use super::problem::Refused;
use crate::domain::Shared;
use crate::refusals;

/// An operator whose right to act was checked.
#[derive(Debug, Clone)]
pub(crate) struct Operator(String);

impl Operator {
    /// Whoever runs as root or as this server's own user may use its local socket.
    pub(crate) fn on_socket(peer: &UnixPeer, own_uid: u32) -> Option<Self> {
        (peer.uid == 0 || peer.uid == own_uid).then(|| Self(format!("uid:{}", peer.uid)))
    }

    /// The operator behind a connection: already admitted on the local socket, or with an admin entry over TLS.
    pub(crate) fn of(domain: &Shared, local: Option<&Self>, peer: Option<&Arc<TlsPeer>>) -> Option<Self> {
        if let Some(local) = local {
            return Some(local.clone());
        }
        let leaf = peer?.leaf.as_ref()?.get();
        let now = sekisho_runtime::now();
        let admin =
            domain.view.read(|state| state.is_admin(&leaf.spiffe_id, now) && state.revocations.find(leaf).is_none());
        (admin && leaf.not_after > now).then(|| Self(leaf.spiffe_id.to_string()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

/// Lets operators through, with who they are as an extension; refuses browsers of other origins and names that are
/// not this server's (DNS rebinding).
pub(super) async fn check(State(domain): State<Shared>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Arc<TlsPeer>>().cloned();
    if !is_own_host(request.headers()) {
        return refused(&domain, peer, "the `Host` or `Origin` header does not name this server").await;
    }
    let extensions = request.extensions();
    let operator = Operator::of(&domain, extensions.get::<Operator>(), extensions.get::<Arc<TlsPeer>>());
    let Some(operator) = operator else {
        let message = "this API is for operators: use the local socket, or an SVID whose entry is `admin`";
        return refused(&domain, peer, message).await;
    };
    request.extensions_mut().insert(operator);
    next.run(request).await
}

/// In the log before the peer hears of it (law L5).
async fn refused(domain: &Shared, peer: Option<Arc<TlsPeer>>, message: &str) -> Response {
    if let Some(peer) = peer
        && let Err(error) = refusals::log_peer(domain, &peer, message).await
    {
        return Refused::unavailable(&error).into_response();
    }
    Refused::forbidden(message).into_response()
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
