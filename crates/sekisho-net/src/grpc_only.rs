//! Requests that are not gRPC get 404 from gRPC services.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

/// Layer around gRPC services: tonic answers every path, also one that a browser or a prober asks for, with HTTP 200
/// and a gRPC status; to a client that speaks no gRPC that says that all is well.
pub async fn grpc_only(request: Request<Body>, next: Next) -> Response {
    if is_grpc(request.headers()) { next.run(request).await } else { no_grpc() }
}

/// What a request gets that is not gRPC.
pub fn no_grpc() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

/// Whether a request with these headers is gRPC (PROTOCOL-HTTP2.md, "Content-Type"): its type is `application/grpc`,
/// with `+proto` or another suffix behind it.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let rest = kind.and_then(|kind| kind.strip_prefix("application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_is_grpc() {
        let kind = |text: &str| is_grpc(&HeaderMap::from_iter([(header::CONTENT_TYPE, text.parse().unwrap())]));
        assert!(kind("application/grpc") && kind("application/grpc+proto") && kind("application/grpc;x=y"));
        assert!(!kind("application/grpc-web") && !kind("application/json") && !is_grpc(&HeaderMap::new()));
    }
}
